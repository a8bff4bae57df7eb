// SPDX-License-Identifier: Apache-2.0
// Values from JSON and back, and in messages.
#include "core/value.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <type_traits>

#include "core/file_check.h"
#include "core/json_parse.h"
#include "edgeqat/error.h"

namespace edgeqat::internal {
namespace {

using nlohmann::json;

Value FromJson(json& tree) {
  switch (tree.type()) {
    case json::value_t::boolean:
      return {tree.get<bool>()};
    case json::value_t::number_unsigned:
      if (tree.get<std::uint64_t>() >
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return {Foreign{tree.dump()}};
      }
      return {tree.get<std::int64_t>()};
    case json::value_t::number_integer:
      return {tree.get<std::int64_t>()};
    case json::value_t::number_float:
      return {tree.get<double>()};
    case json::value_t::string:
      return {std::move(tree.get_ref<std::string&>())};
    case json::value_t::array: {
      List list;
      list.reserve(tree.size());
      for (json& item : tree) {
        list.push_back(FromJson(item));
        item = nullptr;  // the tree shrinks while the value grows
      }
      return {std::move(list)};
    }
    case json::value_t::object: {
      Map map;
      map.reserve(tree.size());
      for (auto& item : tree.items()) {
        map.emplace_back(item.key(), FromJson(item.value()));
        item.value() = nullptr;
      }
      return {std::move(map)};
    }
    default:
      return {};
  }
}

void Append(const Value& value, std::string& out) {
  if (const auto* list = value.As<List>()) {
    const char* separator = "[";
    for (const Value& item : *list) {
      out += separator;
      Append(item, out);
      separator = ",";
    }
    out += list->empty() ? "[]" : "]";
  } else if (const auto* map = value.As<Map>()) {
    const char* separator = "{";
    for (const auto& [key, item] : *map) {
      out += separator;
      out += json(key).dump();
      out += ':';
      Append(item, out);
      separator = ",";
    }
    out += map->empty() ? "{}" : "}";
  } else {
    std::visit(
        [&out](const auto& scalar) {
          using T = std::decay_t<decltype(scalar)>;
          if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
            out += json(scalar).dump();
          } else {
            out += "null";
          }
        },
        value.data);
  }
}

// Insertions, deletions and substitutions between two words.
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, substituted});
    }
  }
  return row.back();
}

}  // namespace

std::string Show(const Value& value) {
  if (value.IsNone()) return "none";
  if (const auto* text = value.As<std::string>())
    return std::string("'").append(Printable(*text)).append("'");
  if (const auto* foreign = value.As<Foreign>()) return Printable(foreign->shown);
  if (value.As<List>() != nullptr) return "a list";
  if (value.As<Map>() != nullptr) return "a mapping";
  if (const auto* number = value.As<double>(); number != nullptr && !std::isfinite(*number)) {
    return std::isnan(*number) ? "nan" : *number > 0 ? "inf" : "-inf";
  }
  return JsonText(value);
}

std::string Hint(std::string_view word, const std::vector<std::string_view>& known) {
  // Names of fields are short; the time of the comparison grows with the product of the lengths.
  const std::string_view begin = word.substr(0, 64);
  const auto nearest =
      std::ranges::min_element(known, {}, [&](std::string_view k) { return Distance(begin, k); });
  if (nearest != known.end() &&
      Distance(begin, *nearest) <= std::max<std::size_t>(begin.size() / 3, 1)) {
    return "; did you mean '" + std::string(*nearest) + "'?";
  }
  std::string names;
  for (const std::string_view name : known)
    names += (names.empty() ? "" : ", ") + std::string(name);
  return "; known keys: " + names;
}

Value ParseValue(std::string_view text, const JsonLimits& limits, const JsonFail& fail) {
  json tree = ParseJson(text, limits, fail);
  return FromJson(tree);
}

std::string JsonText(const Value& value) {
  std::string out;
  try {
    Append(value, out);
  } catch (const json::exception&) {
    throw Error(ErrorCode::kInvalidArgument,
                "JSON: names and text must be UTF-8, found other bytes; rename the layer");
  }
  return out;
}

}  // namespace edgeqat::internal
