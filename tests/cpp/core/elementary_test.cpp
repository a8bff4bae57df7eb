// SPDX-License-Identifier: Apache-2.0
// exp, tanh and its derivative in float32 against libm in double, in units of the last place.
#include "core/elementary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace edgeqat {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The distance in units of the last place of the float32 nearest to `wanted`.
double Error(float found, double wanted) {
  if (std::isinf(static_cast<float>(wanted))) return std::isinf(found) ? 0.0 : kInfinity;
  int exponent = 0;
  std::frexp(wanted, &exponent);
  const double ulp = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::abs(static_cast<double>(found) - wanted) / ulp;
}

// The largest error over every 10007th float32 of [-limit, limit].
template <typename Function, typename Oracle>
double LargestError(float limit, Function function, Oracle oracle) {
  double largest = 0.0;
  for (std::uint32_t bits = 0; bits <= std::bit_cast<std::uint32_t>(limit); bits += 10007) {
    for (const float x : {std::bit_cast<float>(bits), -std::bit_cast<float>(bits)}) {
      largest = std::max(largest, Error(function(x), oracle(static_cast<double>(x))));
    }
  }
  return largest;
}

TEST(Elementary, ExpIsWithinOneUnitOfTheLastPlace) {
  const auto exp = [](float x) { return Exp(x); };
  const auto exact = [](double x) { return std::exp(x); };
  EXPECT_LE(LargestError(10.0F, exp, exact), 1.0);
  EXPECT_LE(LargestError(120.0F, exp, exact), 1.0);  // denormal results and overflow too
  EXPECT_EQ(Exp(0.0F), 1.0F);
  EXPECT_EQ(Exp(-0.0F), 1.0F);
  EXPECT_EQ(Exp(kInfinity), kInfinity);
  EXPECT_EQ(Exp(-kInfinity), 0.0F);
  EXPECT_TRUE(std::isnan(Exp(std::nanf(""))));
  EXPECT_TRUE(std::isnan(Exp(-std::nanf(""))));
}

TEST(Elementary, TanhIsWithinOneAndAHalfUnitsAndOdd) {
  const auto tanh = [](float x) { return Tanh(x); };
  EXPECT_LE(LargestError(20.0F, tanh, [](double x) { return std::tanh(x); }), 1.5);
  EXPECT_EQ(Tanh(kInfinity), 1.0F);
  EXPECT_EQ(Tanh(-kInfinity), -1.0F);
  EXPECT_TRUE(std::signbit(Tanh(-0.0F)));
  EXPECT_EQ(Tanh(1e-42F), 1e-42F);
  EXPECT_TRUE(std::isnan(Tanh(std::nanf(""))));
  for (float x = 0.0F; x < 12.0F; x += 0.001F) {
    ASSERT_EQ(Tanh(-x), -Tanh(x)) << x;
    ASSERT_LE(Tanh(x), 1.0F) << x;
  }
}

TEST(Elementary, DerivativeOfTanhKeepsItsDigitsWhereTanhIsOne) {
  const auto exact = [](double x) { return 1.0 / (std::cosh(x) * std::cosh(x)); };
  EXPECT_LE(LargestError(40.0F, [](float x) { return TanhDerivative(x); }, exact), 4.5);
  EXPECT_EQ(TanhDerivative(0.0F), 1.0F);
  EXPECT_EQ(TanhDerivative(-kInfinity), 0.0F);
  EXPECT_TRUE(std::isnan(TanhDerivative(std::nanf(""))));
}

TEST(Elementary, DivisorOfAScaleOfZerosIsOne) {
  EXPECT_EQ(DorefaDivisor(0.0F), 1.0F);
  EXPECT_EQ(DorefaDivisor(1e-39F), 1.0F);
  EXPECT_EQ(DorefaDivisor(1e-3F), Tanh(1e-3F));
}

}  // namespace
}  // namespace edgeqat
