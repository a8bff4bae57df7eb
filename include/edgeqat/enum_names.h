// SPDX-License-Identifier: Apache-2.0
// The names of enum values, as files, messages and Python write them: "channel" for
// Granularity::kChannel. Each header specialises EnumNames beside the enum it declares.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace edgeqat {

// kNames[i] is the name of the value i; values count from 0 without gaps.
template <typename E>
struct EnumNames;

// Empty for a number that is no value of E.
template <typename E>
[[nodiscard]] constexpr std::string_view NameOf(E value) {
  const auto index = static_cast<std::size_t>(value);
  return index < EnumNames<E>::kNames.size() ? EnumNames<E>::kNames[index] : std::string_view();
}

// The inverse; nullopt for a name that no value has.
template <typename E>
[[nodiscard]] constexpr std::optional<E> FromName(std::string_view name) {
  for (std::size_t i = 0; i < EnumNames<E>::kNames.size(); ++i) {
    if (EnumNames<E>::kNames[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

}  // namespace edgeqat
