// SPDX-License-Identifier: Apache-2.0
// The activations' values and derivatives against their definitions in double.
#include "edgeqat/activation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace edgeqat {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> Points() {
  std::vector<float> points = {0.0F, -0.0F, 3.0F, -3.0F, 6.0F, 1e-40F, -1e-40F, 1e30F, -1e30F};
  for (const float edge : {-3.0F, 0.0F, 3.0F, 6.0F}) {
    points.push_back(std::nextafter(edge, kInf));
    points.push_back(std::nextafter(edge, -kInf));
  }
  for (int i = -1000; i <= 1000; ++i) points.push_back(0.01F * static_cast<float>(i));
  return points;
}

TEST(Activation, ReluAndRelu6AreTheirDefinition) {
  for (const float x : Points()) {
    EXPECT_EQ(Activate(ActivationKind::kNone, x), x);
    EXPECT_EQ(Activate(ActivationKind::kRelu, x), std::max(x, 0.0F)) << x;
    EXPECT_EQ(Activate(ActivationKind::kRelu6, x), std::clamp(x, 0.0F, 6.0F)) << x;
    EXPECT_FALSE(std::signbit(Activate(ActivationKind::kRelu, x))) << x;
    EXPECT_FALSE(std::signbit(Activate(ActivationKind::kRelu6, x))) << x;
    EXPECT_EQ(ActivationDerivative(ActivationKind::kNone, x), 1.0F);
    EXPECT_EQ(ActivationDerivative(ActivationKind::kRelu, x), x > 0.0F ? 1.0F : 0.0F) << x;
    EXPECT_EQ(ActivationDerivative(ActivationKind::kRelu6, x), x > 0.0F && x < 6.0F ? 1.0F : 0.0F)
        << x;
  }
}

TEST(Activation, HardswishIsItsDefinitionToTwoRoundings) {
  for (const float x : Points()) {
    const double exact = static_cast<double>(x) * std::clamp(x + 3.0, 0.0, 6.0) / 6.0;
    const double slope = x <= -3.0F ? 0.0 : (x >= 3.0F ? 1.0 : static_cast<double>(x) / 3.0 + 0.5);
    // x + 3 is rounded before it is multiplied: near -3 that is 1e-7 absolute
    EXPECT_NEAR(Activate(ActivationKind::kHardswish, x), exact, 2e-7 + 2e-7 * std::abs(exact)) << x;
    EXPECT_NEAR(ActivationDerivative(ActivationKind::kHardswish, x), slope, 2e-7) << x;
  }
}

TEST(Activation, NonFiniteValues) {
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    EXPECT_TRUE(std::isnan(Activate(static_cast<ActivationKind>(kind), kNan))) << kind;
    EXPECT_EQ(ActivationDerivative(static_cast<ActivationKind>(kind), kNan), 1.0F) << kind;
  }
  EXPECT_EQ(Activate(ActivationKind::kRelu, kInf), kInf);
  EXPECT_EQ(Activate(ActivationKind::kRelu, -kInf), 0.0F);
  EXPECT_EQ(Activate(ActivationKind::kRelu6, kInf), 6.0F);
  EXPECT_EQ(Activate(ActivationKind::kHardswish, kInf), kInf);
  EXPECT_TRUE(std::isnan(Activate(ActivationKind::kHardswish, -kInf)));
}

TEST(Activation, GradientIsPlusZeroWhereTheFunctionIsFlat) {
  for (const float grad : {-2.0F, kNan}) {
    EXPECT_EQ(ActivationGradient<ActivationKind::kRelu>(grad, -1.0F), 0.0F);
    EXPECT_FALSE(std::signbit(ActivationGradient<ActivationKind::kRelu6>(grad, 7.0F)));
    EXPECT_FALSE(std::signbit(ActivationGradient<ActivationKind::kHardswish>(grad, -3.0F)));
    EXPECT_EQ(ActivationGradient<ActivationKind::kHardswish>(grad, -kInf), 0.0F);
  }
  EXPECT_EQ(ActivationGradient<ActivationKind::kNone>(-2.0F, -1.0F), -2.0F);
  EXPECT_EQ(ActivationGradient<ActivationKind::kRelu>(-2.0F, 1.0F), -2.0F);
  EXPECT_EQ(ActivationGradient<ActivationKind::kHardswish>(-2.0F, 0.0F), -1.0F);
}

TEST(Activation, OnlyHardswishNeedsMoreThanABit) {
  for (const float x : Points()) {
    for (int kind = 0; kind < kActivationKinds; ++kind) {
      if (!HasBinaryDerivative(static_cast<ActivationKind>(kind))) continue;
      const float slope = ActivationDerivative(static_cast<ActivationKind>(kind), x);
      EXPECT_TRUE(slope == 0.0F || slope == 1.0F) << kind << ' ' << x;
    }
  }
}

}  // namespace
}  // namespace edgeqat
