// SPDX-License-Identifier: Apache-2.0
// The version has the three numbers that checkpoints compare.
#include "edgeqat/version.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ranges>
#include <string>
#include <string_view>

namespace edgeqat {
namespace {

// Without <regex>: GCC 12 takes it for uninitialized memory under -fsanitize and stops the build.
TEST(Version, HasThreeNumbers) {
  const std::string version = Version();
  int numbers = 0;
  for (const auto part : std::views::split(version, '.')) {
    const std::string_view digits(part.begin(), part.end());
    EXPECT_FALSE(digits.empty()) << version;
    EXPECT_TRUE(std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; }))
        << version;
    ++numbers;
  }
  EXPECT_EQ(numbers, 3) << version;
  EXPECT_FALSE(Compiler().empty());
}

}  // namespace
}  // namespace edgeqat
