// SPDX-License-Identifier: Apache-2.0
// ChooseQParams: worked examples, dead channels, extreme ranges, refused input.
#include "edgeqat/qparams.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "edgeqat/error.h"

namespace edgeqat {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(QParams, SymmetricDividesByHalfTheLevels) {
  EXPECT_EQ(ChooseQParams(-1.0F, 0.5F, -127, 127, true), (QParams{1.0F / 127.0F, 0}));
  EXPECT_EQ(ChooseQParams(-1.0F, 2.0F, -128, 127, true), (QParams{2.0F / 127.5F, 0}));
  EXPECT_EQ(ChooseQParams(-1.0F, 2.0F, 0, 255, true), (QParams{2.0F / 127.5F, 128}));
}

TEST(QParams, AffineMapsZeroToACode) {
  EXPECT_EQ(ChooseQParams(-1.0F, 3.0F, -128, 127, false), (QParams{4.0F / 255.0F, -64}));
  EXPECT_EQ(ChooseQParams(0.0F, 6.0F, -128, 127, false), (QParams{6.0F / 255.0F, -128}));
  EXPECT_EQ(ChooseQParams(-6.0F, 0.0F, 0, 255, false), (QParams{6.0F / 255.0F, 255}));
  // a range without zero is widened to it
  EXPECT_EQ(ChooseQParams(2.0F, 6.0F, 0, 15, false), (QParams{0.4F, 0}));
  EXPECT_EQ(ChooseQParams(-6.0F, -3.0F, 0, 15, false), (QParams{0.4F, 15}));
}

TEST(QParams, AffineZeroPointRoundsHalfToEven) {
  // scale 1, -min / scale = 2.5 and 3.5
  EXPECT_EQ(ChooseQParams(-2.5F, 12.5F, 0, 15, false), (QParams{1.0F, 2}));
  EXPECT_EQ(ChooseQParams(-3.5F, 11.5F, 0, 15, false), (QParams{1.0F, 4}));
}

TEST(QParams, DeadChannelsGetAValidScale) {
  for (const bool symmetric : {false, true}) {
    EXPECT_EQ(ChooseQParams(0.0F, 0.0F, -128, 127, symmetric), (QParams{1.0F, 0}));
    EXPECT_EQ(ChooseQParams(kInfinity, -kInfinity, -128, 127, symmetric), (QParams{1.0F, 0}));
    EXPECT_EQ(ChooseQParams(-1e-40F, 1e-40F, -128, 127, symmetric), (QParams{1.0F, 0}));
  }
  EXPECT_EQ(ChooseQParams(0.0F, 0.0F, 0, 255, false), (QParams{1.0F, 0}));
  EXPECT_EQ(ChooseQParams(0.0F, 0.0F, 0, 255, true), (QParams{1.0F, 128}));
}

TEST(QParams, TheLargestRangeHasAFiniteScale) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const bool symmetric : {false, true}) {
    for (const std::int32_t qmin : {-128, -1, 0}) {
      const QParams qparams = ChooseQParams(-kMax, kMax, qmin, qmin + 1, symmetric);
      EXPECT_TRUE(std::isfinite(qparams.scale) && qparams.scale > 0.0F);
    }
  }
}

TEST(QParams, ZeroPointIsAlwaysACode) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 100.0F);
  for (int i = 0; i < 10000; ++i) {
    const float a = normal(random);
    const float b = normal(random);
    const auto qmin = static_cast<std::int32_t>(random() % 129) - 128;
    const std::int32_t qmax = qmin + 1 + static_cast<std::int32_t>(random() % 255);
    const QParams qparams = ChooseQParams(std::min(a, b), std::max(a, b), qmin, qmax, false);
    EXPECT_GE(qparams.zero_point, qmin);
    EXPECT_LE(qparams.zero_point, qmax);
    EXPECT_GT(qparams.scale, 0.0F);
  }
}

TEST(QParams, RefusesWhatHasNoMeaning) {
  EXPECT_THROW((void)ChooseQParams(std::nanf(""), 1.0F, -128, 127, true), Error);
  EXPECT_THROW((void)ChooseQParams(0.0F, kInfinity, -128, 127, false), Error);
  EXPECT_THROW((void)ChooseQParams(-kInfinity, 0.0F, -128, 127, false), Error);
  EXPECT_THROW((void)ChooseQParams(2.0F, 1.0F, -128, 127, false), Error);
  EXPECT_THROW((void)ChooseQParams(0.0F, 1.0F, 127, 127, false), Error);
  EXPECT_THROW((void)ChooseQParams(0.0F, 1.0F, -129, 127, false), Error);
}

}  // namespace
}  // namespace edgeqat
