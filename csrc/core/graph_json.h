// SPDX-License-Identifier: Apache-2.0
// JSON text to nlohmann's DOM under limits that hold for hostile files.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

namespace edgeqat::graph {

inline constexpr std::size_t kMaxTextBytes = 100'000'000;
inline constexpr std::size_t kMaxNameBytes = 64 * 1024;
inline constexpr std::size_t kMaxTensors = std::size_t{1} << 20;  // and nodes
inline constexpr std::size_t kMaxDimensions = 8;
inline constexpr int kMaxNesting = 32;

// A DOM value takes 16 bytes: "[1,1,1,..." of 100 MB would take 800 MB without this bound.
inline constexpr std::size_t kMaxValues = std::size_t{1} << 25;

// Refuses text, nesting, strings and value counts over the limits, syntax errors, invalid UTF-8,
// numbers outside of double, and an object that holds a key twice (the DOM would silently keep one
// of the two).
nlohmann::json ParseJson(std::string_view text);

}  // namespace edgeqat::graph
