// SPDX-License-Identifier: Apache-2.0
// A record as a table of its fields: one row says the name, the member and what values it takes;
// reading, writing, validation and the Python binding iterate the rows.
//
//   inline constexpr auto kFields = std::tuple{Field{"bits", &Spec::bits, Ints{2, 8}},
//                                              Field{"mode", &Spec::mode}};  // an enum with names
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "core/value.h"
#include "edgeqat/enum_names.h"
#include "edgeqat/error.h"

namespace edgeqat::internal {

struct AnyValue {};  // all that the member's type can hold
struct Name {};      // text of 1 to kMaxNameBytes bytes

inline constexpr std::size_t kMaxListed = 64;  // torch's limit of dimensions

struct Ints {
  std::int64_t least = std::numeric_limits<std::int64_t>::min();
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
};

struct HalfOpen {  // (above, most]
  int above;
  int most;
};

struct Closed {  // [least, most]
  int least;
  int most;
};

template <typename T, typename M, typename R = AnyValue>
struct Field {
  using Member = M;
  std::string_view name;
  M T::* member;
  R rule = {};
};
template <typename T, typename M>
Field(const char*, M T::*) -> Field<T, M>;
template <typename T, typename M, typename R>
Field(const char*, M T::*, R) -> Field<T, M, R>;

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

// Where a record stands, for messages: "<owner><field> must be <expected>, found <found>".
struct Origin {
  ErrorCode code;
  std::string owner;     // "Recipe: ", "plan: layers[3].output."
  std::string advice{};  // "; make the plan again"

  [[nodiscard]] Origin Inside(const std::string& part) const {
    return {code, owner + part, advice};
  }
  [[noreturn]] void Fail(const std::string& problem) const {
    throw Error(code, owner + problem + advice);
  }
  // About the record as a whole: "plan: layers[3].output: <problem>".
  [[noreturn]] void FailWhole(const std::string& problem) const {
    const std::size_t end = owner.find_last_not_of(".: ") + 1;
    throw Error(code, owner.substr(0, end) + ": " + problem + advice);
  }
};

[[noreturn]] inline void FailUnknown(std::string_view key,
                                     const std::vector<std::string_view>& known,
                                     const Origin& origin) {
  origin.FailWhole("unknown key " + Show({std::string(key)}) + Hint(key, known));
}

// What a member takes, in words.
template <typename M, typename R>
std::string Expected(const R& rule) {
  if constexpr (IsOptional<M>::value) {
    return "none or " + Expected<typename M::value_type>(rule);
  } else if constexpr (std::is_same_v<M, bool>) {
    return "true or false";
  } else if constexpr (std::is_same_v<M, std::vector<std::int64_t>>) {
    return "a list of " + std::to_string(kMaxListed) + " or fewer entries, each " +
           Expected<std::int64_t>(rule);
  } else if constexpr (std::is_same_v<M, std::array<double, 2>>) {
    return "two finite numbers, the lower first";
  } else if constexpr (std::is_same_v<R, Name>) {
    return "a name of 1 to " + std::to_string(kMaxNameBytes) + " bytes";
  } else if constexpr (std::is_same_v<R, Ints>) {
    const std::string least = std::to_string(rule.least);
    return rule.most == Ints{}.most ? "an integer of at least " + least
                                    : "an integer in " + least + ".." + std::to_string(rule.most);
  } else if constexpr (std::is_same_v<R, HalfOpen>) {
    return "in (" + std::to_string(rule.above) + ", " + std::to_string(rule.most) + "]";
  } else if constexpr (std::is_same_v<R, Closed>) {
    return "in [" + std::to_string(rule.least) + ", " + std::to_string(rule.most) + "]";
  } else if constexpr (std::is_enum_v<M>) {
    std::string names;
    constexpr std::size_t kCount = EnumNames<M>::kNames.size();
    for (std::size_t i = 0; i < kCount; ++i) {
      names += (i == 0           ? "'"
                : i + 1 < kCount ? ", '"
                                 : " or '") +
               std::string(EnumNames<M>::kNames[i]) + "'";
    }
    return names;
  } else if constexpr (std::is_integral_v<M>) {
    return "an integer";
  } else {
    static_assert(std::is_same_v<M, std::string>);
    return "text";
  }
}

// False where the member does not take the value.
template <typename M, typename R>
bool Assign(M& member, const Value& value, const R& rule) {
  if constexpr (IsOptional<M>::value) {
    if (value.IsNone()) {
      member.reset();
      return true;
    }
    return Assign(member.emplace(), value, rule);
  } else if constexpr (std::is_same_v<M, std::vector<std::int64_t>>) {
    const auto* list = value.As<List>();
    if (list == nullptr || list->size() > kMaxListed) return false;
    for (const Value& item : *list) {
      if (!Assign(member.emplace_back(), item, rule)) return false;
    }
    return true;
  } else if constexpr (std::is_same_v<M, std::array<double, 2>>) {
    const auto* list = value.As<List>();
    return list != nullptr && list->size() == 2 && Assign(member[0], (*list)[0], rule) &&
           Assign(member[1], (*list)[1], rule) && member[0] < member[1];
  } else if constexpr (std::is_same_v<M, bool>) {
    const auto* given = value.As<bool>();
    if (given != nullptr) member = *given;
    return given != nullptr;
  } else if constexpr (std::is_integral_v<M>) {
    const auto* given = value.As<std::int64_t>();
    std::int64_t least = std::numeric_limits<M>::min();
    std::int64_t most = std::numeric_limits<M>::max();
    if constexpr (std::is_same_v<R, Ints>) {
      least = std::max(least, rule.least);
      most = std::min(most, rule.most);
    }
    if (given == nullptr || *given < least || *given > most) return false;
    member = static_cast<M>(*given);
    return true;
  } else if constexpr (std::is_floating_point_v<M>) {
    const auto* integer = value.As<std::int64_t>();
    const auto* number = value.As<double>();
    if (integer == nullptr && number == nullptr) return false;
    const M given = integer != nullptr ? static_cast<M>(*integer) : *number;
    if constexpr (std::is_same_v<R, HalfOpen>) {
      if (!(given > rule.above && given <= rule.most)) return false;
    }
    if constexpr (std::is_same_v<R, Closed>) {
      if (!(given >= rule.least && given <= rule.most)) return false;
    }
    member = given;
    return std::isfinite(given);
  } else {
    const auto* given = value.As<std::string>();
    if (given == nullptr) return false;
    if constexpr (std::is_enum_v<M>) {
      const std::optional<M> named = FromName<M>(*given);
      if (named) member = *named;
      return named.has_value();
    } else {
      if (std::is_same_v<R, Name> && (given->empty() || given->size() > kMaxNameBytes))
        return false;
      member = *given;
      return true;
    }
  }
}

template <typename M>
Value ToValue(const M& member) {
  if constexpr (IsOptional<M>::value) {
    return member ? ToValue(*member) : Value{};
  } else if constexpr (std::is_enum_v<M>) {
    return {std::string(NameOf(member))};
  } else if constexpr (std::is_integral_v<M> && !std::is_same_v<M, bool>) {
    return {std::int64_t{member}};
  } else if constexpr (std::is_same_v<M, std::vector<std::int64_t>> ||
                       std::is_same_v<M, std::array<double, 2>>) {
    List list;
    for (const auto& item : member) list.push_back(ToValue(item));
    return {std::move(list)};
  } else {
    return {member};
  }
}

template <typename T, typename M, typename R>
void SetField(T& record, const Field<T, M, R>& row, const Value& value, const Origin& origin) {
  M taken{};
  if (!Assign(taken, value, row.rule)) {
    origin.Fail(std::string(row.name) + " must be " + Expected<M>(row.rule) + ", found " +
                Show(value));
  }
  record.*row.member = std::move(taken);
}

template <typename... Rows>
std::vector<std::string_view> FieldNames(const std::tuple<Rows...>& rows) {
  return std::apply([](const auto&... row) { return std::vector<std::string_view>{row.name...}; },
                    rows);
}

// Sets the field called `key`; false where no row has that name.
template <typename T, typename... Rows>
bool SetNamed(T& record, const std::tuple<Rows...>& rows, std::string_view key, const Value& value,
              const Origin& origin) {
  return std::apply(
      [&](const auto&... row) {
        return ((row.name == key && (SetField(record, row, value, origin), true)) || ...);
      },
      rows);
}

// Sets every field that `map` names and refuses keys that no row has.
template <typename T, typename... Rows>
void SetFields(T& record, const Map& map, const std::tuple<Rows...>& rows, const Origin& origin) {
  for (const auto& [key, value] : map) {
    if (!SetNamed(record, rows, key, value, origin)) FailUnknown(key, FieldNames(rows), origin);
  }
}

template <typename T, typename... Rows>
Map ToMap(const T& record, const std::tuple<Rows...>& rows) {
  return std::apply(
      [&](const auto&... row) {
        return Map{Map::value_type(row.name, ToValue(record.*row.member))...};
      },
      rows);
}

}  // namespace edgeqat::internal
