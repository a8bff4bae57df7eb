// SPDX-License-Identifier: Apache-2.0
// choose_qparams for the device against ChooseQParams bit for bit.
#include "cuda/qparams.h"

#include <gtest/gtest.h>

#include "cuda/kernel_cases.h"
#include "cuda/qparams_rule.h"
#include "edgeqat/qparams.h"

namespace edgeqat::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Range {
  float min;
  float max;
};

std::vector<Range> Ranges() {
  std::vector<Range> ranges = {{0.0f, 0.0f},      {-0.0f, 0.0f},     {kInfinity, -kInfinity},
                               {1.0f, 1.0f},      {-1.0f, -1.0f},    {-3e38f, 3e38f},
                               {0.0f, 3.4e38f},   {-1e-45f, 1e-45f}, {-1e-37f, 1e-37f},
                               {-3e-36f, 3e-36f}, {-1.0f, 254.0f},   {-0.5f, 254.5f},
                               {2.0f, 5.0f},      {-5.0f, -2.0f},    {-1.0f, 3.0f}};
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 20000; ++i) {
    const float a = normal(random) * std::ldexp(1.0f, static_cast<int>(random() % 40) - 20);
    const float b = normal(random);
    ranges.push_back({std::min(a, b), std::max(a, b)});
  }
  return ranges;
}

TEST(ChooseQParamsCuda, EqualsTheCore) {
  emulation = {};
  const std::vector<Range> ranges = Ranges();
  const auto n = static_cast<std::int64_t>(ranges.size());
  const Buffer<float> min_val(n);
  const Buffer<float> max_val(n);
  const Buffer<float> scale(n);
  const Buffer<std::int32_t> zero_point(n);
  for (std::int64_t i = 0; i < n; ++i) {
    min_val[i] = ranges[static_cast<std::size_t>(i)].min;
    max_val[i] = ranges[static_cast<std::size_t>(i)].max;
  }
  const std::vector<std::pair<int, int>> grids = {{-128, 127}, {-127, 127}, {0, 255}, {-8, 7},
                                                  {0, 15},     {-2, 1},     {1, 9},   {-9, -1}};
  for (const auto& [qmin, qmax] : grids) {
    for (const bool symmetric : {false, true}) {
      cuda::choose_qparams({.min_val = min_val.data(),
                            .max_val = max_val.data(),
                            .count = n,
                            .qmin = qmin,
                            .qmax = qmax,
                            .symmetric = symmetric,
                            .scale = scale.data(),
                            .zero_point = zero_point.data()},
                           nullptr);
      for (std::int64_t i = 0; i < n; ++i) {
        const QParams expected = ChooseQParams(min_val[i], max_val[i], qmin, qmax, symmetric);
        ASSERT_EQ(scale[i], expected.scale) << min_val[i] << " " << max_val[i] << " " << qmin;
        ASSERT_EQ(zero_point[i], expected.zero_point) << min_val[i] << " " << max_val[i];
      }
    }
  }
}

TEST(ChooseQParamsCuda, AnInvalidRangeIsNotMistakenForAGoodOne) {
  const float nan = std::nanf("");
  for (const Range& range :
       {Range{nan, 1.0f}, Range{0.0f, nan}, Range{nan, nan}, Range{2.0f, 1.0f},
        Range{-kInfinity, 1.0f}, Range{0.0f, kInfinity}, Range{-kInfinity, kInfinity}}) {
    for (const bool symmetric : {false, true}) {
      EXPECT_TRUE(std::isnan(ChooseQParamsRule(range.min, range.max, -128, 127, symmetric).scale));
    }
  }
}

}  // namespace
}  // namespace edgeqat::cuda
