// SPDX-License-Identifier: Apache-2.0
// Every variant of observe_minmax against the scalar reference, and the public function over pools.
#include "edgeqat/observer.h"

#include "core/reference/observer_ref.h"
#include "cpu/kernel_cases.h"
#include "cpu/observer-inl.h"

namespace edgeqat {
namespace {

using testing::GuardedBuffer;

class ObserveMinmax : public ::testing::TestWithParam<const cpu::KernelTable*> {};

TEST_P(ObserveMinmax, EqualsReferenceAtEverySize) {
  std::mt19937 random(1);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        const auto channels = static_cast<std::size_t>(layout.num_scales());
        GuardedBuffer x(static_cast<std::size_t>(n * SizeOf(type)));
        testing::FillHard(random, layout, std::vector<float>(channels, 0.1F), type, x.data());
        // every third tensor has a mask, and some channels survive nowhere
        GuardedBuffer mask(static_cast<std::size_t>(n));
        for (std::int64_t e = 0; e < n; ++e) {
          mask.data()[e] = static_cast<std::uint8_t>(layout.index(e) % 5 != 4 && random() % 3 != 0);
        }
        const std::uint8_t* const keep = random() % 3 == 0 ? mask.data() : nullptr;
        std::vector<float> low(channels), high(channels);
        const std::int64_t expected = reference::observe_minmax_ref({.dtype = type,
                                                                     .layout = layout,
                                                                     .x = x.data(),
                                                                     .mask = keep,
                                                                     .min = low.data(),
                                                                     .max = high.data()});
        std::vector<std::int32_t> min_keys(channels, cpu::kInfKey);
        std::vector<std::int32_t> max_keys(channels, cpu::kNegInfKey);
        const ObserveMinmaxArgs args = {
            .dtype = type, .layout = layout, .x = x.data(), .mask = keep};
        EXPECT_EQ(GetParam()->observe_minmax(args, 0, n, min_keys.data(), max_keys.data()),
                  expected);
        for (std::size_t c = 0; c < channels; ++c) {
          ASSERT_EQ(std::bit_cast<float>(cpu::OrderKey(min_keys[c])), low[c]) << n;
          ASSERT_EQ(std::bit_cast<float>(cpu::OrderKey(max_keys[c])), high[c]) << n;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, ObserveMinmax, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

TEST(ObserveMinmaxPublic, MergesPiecesInAnyOrder) {
  std::mt19937 random(2);
  const QuantLayout layout = {2, 5, 9001, 1};
  std::vector<float> x(static_cast<std::size_t>(layout.numel()));
  testing::FillHard(random, layout, std::vector<float>(5, 0.3F), FloatType::kFloat32, x.data());
  std::vector<float> low(5), high(5), low2(5), high2(5);
  ObserveMinmaxArgs args = {.layout = layout, .x = x.data(), .min = low.data(), .max = high.data()};
  const std::int64_t count = reference::observe_minmax_ref(args);
  args.min = low2.data();
  args.max = high2.data();
  const auto reversed = [](std::int64_t chunks, const RangeBody& body) {
    for (std::int64_t i = chunks; i-- > 0;) body(i, i + 1);
  };
  EXPECT_EQ(observe_minmax(args, reversed), count);
  EXPECT_EQ(low, low2);
  EXPECT_EQ(high, high2);
}

TEST(ObserveMinmaxPublic, ReportsPositiveZero) {
  const float x[] = {-0.0F, -0.0F, 0.0F};
  float low = 1.0F;
  float high = 1.0F;
  EXPECT_EQ(
      observe_minmax({.layout = QuantLayout::PerTensor(3), .x = x, .min = &low, .max = &high}), 0);
  EXPECT_FALSE(std::signbit(low));
  EXPECT_FALSE(std::signbit(high));
}

// A reference of its own: the survivors alone, as a tensor.
TEST(ObserveMinmaxPublic, SeesAndCountsSurvivorsOnly) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float x[] = {9.0F, -1.0F, std::nanf(""), 2.0F, kInfinity, -7.0F, std::nanf(""), 1.0F};
  const std::uint8_t mask[] = {0, 1, 0, 1, 1, 0, 0, 0};
  float low = 0.0F;
  float high = 0.0F;
  EXPECT_EQ(
      observe_minmax(
          {.layout = QuantLayout::PerTensor(8), .x = x, .mask = mask, .min = &low, .max = &high}),
      1);
  EXPECT_EQ(low, -1.0F);
  EXPECT_EQ(high, 2.0F);
}

TEST(ObserveMinmaxPublic, LeavesAChannelWithoutFiniteValuesUnobserved) {
  const float x[] = {std::nanf(""), std::numeric_limits<float>::infinity(), 1.0F, -2.0F};
  float low[2], high[2];
  EXPECT_EQ(observe_minmax({.layout = {1, 2, 2, 1}, .x = x, .min = low, .max = high}), 2);
  EXPECT_EQ(low[0], std::numeric_limits<float>::infinity());
  EXPECT_EQ(high[0], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(low[1], -2.0F);
  EXPECT_EQ(high[1], 1.0F);
}

}  // namespace
}  // namespace edgeqat
