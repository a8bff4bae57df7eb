// SPDX-License-Identifier: Apache-2.0
// GridPositions, which multiplies by the reciprocal, against the division of every value.
#include "cuda/quantize_rule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

constexpr int kCount = 8;

// The values eight at a time, so that one that is divided takes others along, and each by itself.
void ExpectPositionsOfDivision(const std::vector<float>& values, float scale, float zero_point) {
  const Grid grid{scale, zero_point, -128.0f, 127.0f};
  for (std::size_t first = 0; first + kCount <= values.size(); first += kCount) {
    float x[kCount];
    float position[kCount];
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(first), kCount, x);
    GridPositions(x, grid, position);
    for (int k = 0; k < kCount; ++k) {
      const float expected = std::rint(x[k] / scale) + zero_point;
      ASSERT_TRUE(SameValue(position[k], expected) ||
                  (std::fabs(expected) > 0x1p22f && std::fabs(position[k]) > 0x1p22f))
          << x[k] << " / " << scale << ": " << position[k] << ", expected " << expected;
      const float alone[1] = {x[k]};
      float result[1];
      GridPositions(alone, grid, result);
      ASSERT_TRUE(SameValue(ClampToGrid(result[0], grid), ClampToGrid(expected, grid)))
          << x[k] << " / " << scale;
    }
  }
}

// The neighbours of ties, where the product and the quotient round apart.
TEST(GridPositions, AreThoseOfTheDivisionAroundTies) {
  std::mt19937 random(5);
  for (int i = 0; i < 20000; ++i) {
    const float scale = BitCast<float>(
        static_cast<std::uint32_t>(0x3c000000u + random() % 0x02000000u));  // 2^-7 to 2^-3
    std::vector<float> values;
    while (values.size() < 5 * kCount) {
      const float tie = static_cast<float>(random() % 512) - 255.5f;
      float x = tie * scale;
      for (int step = -2; step <= 2; ++step) {
        float near = x;
        for (int k = 0; k < std::abs(step); ++k) near = std::nextafter(near, step * INFINITY);
        values.push_back(near);
      }
    }
    ExpectPositionsOfDivision(values, scale, static_cast<float>(random() % 9) - 4.0f);
  }
}

TEST(GridPositions, AreThoseOfTheDivisionForAnyMagnitude) {
  std::mt19937 random(6);
  for (int i = 0; i < 20000; ++i) {
    std::vector<float> values(kCount);
    const float scale = BitCast<float>(
        static_cast<std::uint32_t>(1u + random() % 0x7f7fffffu));  // denormal to the largest
    for (float& v : values) {
      v = random() % 2 == 0 ? BitCast<float>(static_cast<std::uint32_t>(random()))
                            : scale * (static_cast<float>(random() % 4001) - 2000.0f) * 0.125f;
    }
    ExpectPositionsOfDivision(values, scale, 0.0f);
  }
}

TEST(GridPositions, AreThoseOfTheDivisionForSpecialValuesAndScales) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const float scale : {0.03f, 0.25f, 3.0f, 0x1p-100f, 0x1p-101f, 0x1p100f, 0x1p101f, 0x1p127f,
                            1e-45f, 1.17549435e-38f, kMax}) {
    ExpectPositionsOfDivision({0.0f, -0.0f, INFINITY, -INFINITY, NAN, kMax, -kMax, 1e-45f}, scale,
                              3.0f);
    ExpectPositionsOfDivision(HardValues(800, scale, 7), scale, -2.0f);
  }
}

}  // namespace
}  // namespace edgeqat::cuda
