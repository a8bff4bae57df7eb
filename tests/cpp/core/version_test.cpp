// SPDX-License-Identifier: Apache-2.0
// The version has the three numbers that checkpoints compare.
#include "edgeqat/version.h"

#include <gtest/gtest.h>

#include <regex>

namespace edgeqat {
namespace {

TEST(Version, HasThreeNumbers) {
  EXPECT_TRUE(std::regex_match(Version(), std::regex(R"(\d+\.\d+\.\d+)")));
  EXPECT_FALSE(Compiler().empty());
}

}  // namespace
}  // namespace edgeqat
