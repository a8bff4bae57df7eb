// SPDX-License-Identifier: Apache-2.0
// Plain data between a record (Recipe, Plan) and its form outside: JSON text, Python objects.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/json_limits.h"

namespace edgeqat::internal {

// Something that no field takes, such as a Python object: only how a message shows it.
struct Foreign {
  std::string shown;
};

struct Value;
using List = std::vector<Value>;
using Map = std::vector<std::pair<std::string, Value>>;  // in the order it was given

struct Value {
  std::variant<std::monostate, bool, std::int64_t, double, std::string, List, Map, Foreign> data;

  template <typename T>
  [[nodiscard]] const T* As() const {
    return std::get_if<T>(&data);
  }
  [[nodiscard]] bool IsNone() const { return data.index() == 0; }
};

// For a message: 4, 4.5, 'text', none, a list.
std::string Show(const Value& value);

// The known word that is nearest to `word`, as "; did you mean 'x'?", or the list of all of them.
std::string Hint(std::string_view word, const std::vector<std::string_view>& known);

// JSON text as a value; `fail` as in ParseJson.
Value ParseValue(std::string_view text, const JsonLimits& limits, const JsonFail& fail);

// One line of JSON. Throws Error(kInvalidArgument) for a name that is not UTF-8.
std::string JsonText(const Value& value);

}  // namespace edgeqat::internal
