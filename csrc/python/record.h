// SPDX-License-Identifier: Apache-2.0
// Records of the core (QuantSpec, Recipe, TensorPlan) as Python classes: fields as properties,
// enums as strings with a Literal type, any object as an argument that the record's own rules
// refuse.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/fields.h"
#include "edgeqat/enum_names.h"

namespace edgeqat::python {

namespace py = pybind11;

template <typename E>
concept NamedEnum = requires { EnumNames<E>::kNames; };

// An argument that is typed as T but takes any object: the rules of the record refuse it by name,
// where pybind11 would only list its overloads.
template <typename T>
class Argument : public py::object {
 public:
  using py::object::object;
  static bool check_(py::handle object) { return object.ptr() != nullptr; }
};

// None, bool, int, float, str, list or tuple, dict; anything else by its repr. Throws
// Error(kInvalidArgument) where the data nest too deep or repeat themselves without end.
internal::Value FromPython(py::handle object);

py::object ToPython(const internal::Value& value);

// What Python sees of a member: immutable containers.
template <typename M>
auto Shown(const M& member) {
  if constexpr (std::is_same_v<M, std::vector<std::int64_t>>) {
    return py::typing::Tuple<py::int_, py::ellipsis>(py::tuple(py::cast(member)));
  } else if constexpr (std::is_same_v<M, std::optional<std::array<double, 2>>>) {
    return member ? std::optional(std::pair((*member)[0], (*member)[1])) : std::nullopt;
  } else {
    return member;
  }
}

// The record that Python's arguments, in the order of the rows, describe.
template <typename T, typename... Rows, typename... Given>
T FromArguments(const std::tuple<Rows...>& rows, const internal::Origin& origin,
                const Given&... given) {
  T record;
  std::apply([&](const auto&... row) { (SetField(record, row, FromPython(given), origin), ...); },
             rows);
  return record;
}

template <typename T, typename... Rows>
py::tuple Members(const T& record, const std::tuple<Rows...>& rows) {
  return std::apply(
      [&](const auto&... row) { return py::make_tuple(Shown(record.*row.member)...); }, rows);
}

// QuantSpec(bits=4, symmetric=True, ...).
template <typename T, typename... Rows>
std::string Repr(const char* name, const T& record, const std::tuple<Rows...>& rows) {
  std::string text;
  std::apply(
      [&](const auto&... row) {
        const auto add = [&](const auto& field) {
          const py::tuple shown = py::make_tuple(Shown(record.*field.member));
          text += text.empty() ? "" : ", ";
          text += std::string(field.name) + "=" + py::repr(shown[0]).template cast<std::string>();
        };
        (add(row), ...);
      },
      rows);
  return std::string(name) + "(" + text + ")";
}

// One read-only property per row.
template <typename T, typename Class, typename... Rows>
void DefineReadOnly(Class& cls, const std::tuple<Rows...>& rows) {
  std::apply(
      [&](const auto&... row) {
        const auto define = [&](const auto& field) {
          cls.def_property_readonly(
              std::string(field.name).c_str(),
              [member = field.member](const T& record) { return Shown(record.*member); });
        };
        (define(row), ...);
      },
      rows);
}

}  // namespace edgeqat::python

namespace pybind11::detail {

template <typename E>
constexpr std::size_t LiteralLength() {
  std::size_t length = 0;
  for (const std::string_view name : edgeqat::EnumNames<E>::kNames) length += name.size() + 4;
  return length - 2;  // quotes and a separator each, none behind the last
}

// 'tensor', 'channel', 'group'
template <typename E>
constexpr auto LiteralNames() {
  descr<LiteralLength<E>()> text;
  std::size_t at = 0;
  const auto put = [&](char c) { text.text[at++] = c; };
  for (const std::string_view name : edgeqat::EnumNames<E>::kNames) {
    if (at != 0) {
      put(',');
      put(' ');
    }
    put('\'');
    for (const char c : name) put(c);
    put('\'');
  }
  return text;
}

#if PYBIND11_VERSION_HEX >= 0x03000000
template <edgeqat::python::NamedEnum E>  // has a caster for every enum otherwise
struct type_caster_enum_type_enabled<E> : std::false_type {};
#endif

template <edgeqat::python::NamedEnum E>
struct type_caster<E> {
  PYBIND11_TYPE_CASTER(E, const_name("typing.Literal[") + LiteralNames<E>() + const_name("]"));

  bool load(handle source, bool) {
    if (!isinstance<str>(source)) return false;
    const auto named = edgeqat::FromName<E>(source.cast<std::string>());
    if (named) value = *named;
    return named.has_value();
  }
  static handle cast(E source, return_value_policy, handle) {
    return str(std::string(edgeqat::NameOf(source))).release();
  }
};

// The type of an argument in signatures: pybind11 would write SupportsInt for int, which records do
// not take.
template <typename T>
struct ArgumentName {
  static constexpr auto name = make_caster<T>::name;
};
template <typename T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
struct ArgumentName<T> {
  static constexpr auto name = const_name("int");
};
template <>
struct ArgumentName<double> {
  static constexpr auto name = const_name("float");
};
template <typename T>
struct ArgumentName<std::vector<T>> {
  static constexpr auto name =
      const_name("collections.abc.Sequence[") + ArgumentName<T>::name + const_name("]");
};
template <>
struct ArgumentName<std::array<double, 2>> {
  static constexpr auto name = const_name("tuple[float, float]");
};
template <typename T>
struct ArgumentName<std::optional<T>> {
  static constexpr auto name = ArgumentName<T>::name + const_name(" | None");
};

template <typename T>
struct handle_type_name<edgeqat::python::Argument<T>> {
  static constexpr auto name = ArgumentName<T>::name;
};

}  // namespace pybind11::detail
