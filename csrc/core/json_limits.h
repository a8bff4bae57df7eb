// SPDX-License-Identifier: Apache-2.0
// What JSON from outside may take at most, and how a reader says that it takes more.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace edgeqat::internal {

inline constexpr std::size_t kMaxNameBytes = 64 * 1024;
inline constexpr int kMaxNesting = 32;

struct JsonLimits {
  std::size_t bytes;
  std::size_t values;  // a DOM value takes 16 bytes: "[1,1,1,..." of 100 MB would take 800 MB
  std::size_t string_bytes = kMaxNameBytes;  // of one key or text
};

// Says what is wrong and where; must throw.
using JsonFail = std::function<void(const std::string& field, const std::string& problem)>;

}  // namespace edgeqat::internal
