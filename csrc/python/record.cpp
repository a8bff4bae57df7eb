// SPDX-License-Identifier: Apache-2.0
// Plain data of Python as values of the core, and back.
#include "python/record.h"

#include <variant>

namespace edgeqat::python {
namespace {

using internal::Foreign;
using internal::List;
using internal::Map;
using internal::Value;

std::string Text(py::handle object) { return py::str(object).cast<std::string>(); }

class Reader {
 public:
  Value Read(py::handle object, int depth = 0) {
    // A YAML text of 200 bytes can name one list ten times in each of nine others: 10^10 values.
    if (++count_ > kMostValues || depth > internal::kMaxNesting) {
      throw Error(ErrorCode::kInvalidArgument,
                  "plain data: expected at most " + std::to_string(kMostValues) + " values and " +
                      std::to_string(internal::kMaxNesting) + " levels of nesting, found more");
    }
    if (object.is_none()) return {};
    if (PyBool_Check(object.ptr()) != 0) return {object.cast<bool>()};
    if (PyLong_Check(object.ptr()) != 0) return Integer(object);
    if (PyFloat_Check(object.ptr()) != 0) return {object.cast<double>()};
    if (PyUnicode_Check(object.ptr()) != 0) return {object.cast<std::string>()};
    if (py::isinstance<py::list>(object) || py::isinstance<py::tuple>(object)) {
      List list;
      for (const py::handle item : object) list.push_back(Read(item, depth + 1));
      return {std::move(list)};
    }
    if (py::isinstance<py::dict>(object)) {
      Map map;
      for (const auto& [key, item] : py::reinterpret_borrow<py::dict>(object))
        map.emplace_back(Text(key), Read(item, depth + 1));
      return {std::move(map)};
    }
    return {Foreign{py::repr(object).cast<std::string>()}};
  }

 private:
  static Value Integer(py::handle object) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
    if (overflow != 0) return {Foreign{Text(object)}};
    return {std::int64_t{number}};
  }

  static constexpr std::size_t kMostValues = std::size_t{1} << 22;
  std::size_t count_ = 0;
};

}  // namespace

Value FromPython(py::handle object) { return Reader().Read(object); }

py::object ToPython(const Value& value) {
  if (const auto* list = value.As<List>()) {
    py::list out;
    for (const Value& item : *list) out.append(ToPython(item));
    return out;
  }
  if (const auto* map = value.As<Map>()) {
    py::dict out;
    for (const auto& [key, item] : *map) out[py::str(key)] = ToPython(item);
    return out;
  }
  if (const auto* flag = value.As<bool>()) return py::bool_(*flag);
  if (const auto* number = value.As<std::int64_t>()) return py::int_(*number);
  if (const auto* number = value.As<double>()) return py::float_(*number);
  if (const auto* text = value.As<std::string>()) return py::str(*text);
  return py::none();
}

}  // namespace edgeqat::python
