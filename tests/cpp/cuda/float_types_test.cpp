// SPDX-License-Identifier: Apache-2.0
// float16 and bfloat16 storage against the definition of the formats: every value, every rounding
// boundary.
#include "cuda/float_types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace edgeqat::cuda {
namespace {

// sign, exponent and mantissa put together in double; NaN and infinity from the all-ones exponent.
double Decode(std::uint32_t bits, int exponent_bits, int mantissa_bits) {
  const std::uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (bits >> (exponent_bits + mantissa_bits)) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * INFINITY;
  }
  const double fraction = exponent == 0 ? mantissa : mantissa + (1u << mantissa_bits);
  return sign * std::ldexp(fraction, std::max(exponent, 1) - bias - mantissa_bits);
}

template <typename T>
void ExpectDecodesAndRoundTrips(int exponent_bits, int mantissa_bits) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const T value{static_cast<std::uint16_t>(bits)};
    const double expected = Decode(bits, exponent_bits, mantissa_bits);
    const float found = ToFloat(value);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(found)) << bits;
      ASSERT_TRUE(std::isnan(ToFloat(FromFloat<T>(found)))) << bits;
    } else {
      ASSERT_EQ(found, expected) << bits;
      ASSERT_EQ(std::signbit(found), std::signbit(expected)) << bits;
      ASSERT_EQ(FromFloat<T>(found).bits, bits);
    }
  }
}

// Between neighbours a < b: the middle goes to the even one, its float32 neighbours to a and b.
template <typename T>
void ExpectRoundsHalfToEven(std::uint16_t infinity) {
  for (std::uint32_t bits = 0; bits + 1 < infinity; ++bits) {
    const double a = ToFloat(T{static_cast<std::uint16_t>(bits)});
    const double b = ToFloat(T{static_cast<std::uint16_t>(bits + 1)});
    const auto middle = static_cast<float>((a + b) / 2);
    const std::uint32_t even = (bits & 1) == 0 ? bits : bits + 1;
    ASSERT_EQ(FromFloat<T>(middle).bits, even) << middle;
    ASSERT_EQ(FromFloat<T>(-middle).bits, even | 0x8000u) << middle;
    ASSERT_EQ(FromFloat<T>(std::nextafter(middle, 0.0f)).bits, bits) << middle;
    ASSERT_EQ(FromFloat<T>(std::nextafter(middle, INFINITY)).bits, bits + 1) << middle;
  }
}

TEST(Float16, EveryValue) { ExpectDecodesAndRoundTrips<Float16>(5, 10); }
TEST(BFloat16, EveryValue) { ExpectDecodesAndRoundTrips<BFloat16>(8, 7); }
TEST(Float16, EveryRoundingBoundary) { ExpectRoundsHalfToEven<Float16>(0x7c00); }
TEST(BFloat16, EveryRoundingBoundary) { ExpectRoundsHalfToEven<BFloat16>(0x7f80); }

TEST(Float16, OverflowStartsAt65520) {
  EXPECT_EQ(FromFloat<Float16>(65519.996f).bits, 0x7bff);
  EXPECT_EQ(FromFloat<Float16>(65520.0f).bits, 0x7c00);
  EXPECT_EQ(FromFloat<Float16>(-3e38f).bits, 0xfc00);
}

TEST(BFloat16, LargestFloatOverflows) {
  EXPECT_EQ(FromFloat<BFloat16>(std::numeric_limits<float>::max()).bits, 0x7f80);
}

}  // namespace
}  // namespace edgeqat::cuda
