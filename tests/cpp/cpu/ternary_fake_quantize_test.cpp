// SPDX-License-Identifier: Apache-2.0
// ternary_fake_quantize against the scalar reference; its reduction in every variant bit for bit.
#include "edgeqat/ternary_fake_quantize.h"

#include "core/magnitude.h"
#include "core/reference/ternary_fake_quantize_ref.h"
#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

using testing::GuardedBuffer;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<std::uint8_t> RandomMask(std::mt19937& random, std::int64_t n) {
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(n));
  for (std::uint8_t& keep : mask) keep = random() % 3 == 0 ? 0 : 1;
  return mask;
}

class TernaryFakeQuantize : public ::testing::TestWithParam<const cpu::KernelTable*> {};

TEST_P(TernaryFakeQuantize, EqualsReferenceAtEverySize) {
  std::mt19937 random(7);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        const auto scales = static_cast<std::size_t>(layout.num_scales());
        const auto bytes = static_cast<std::size_t>(n * SizeOf(type));
        GuardedBuffer x(bytes), y(bytes), expected(bytes);
        testing::FillHard(random, layout, std::vector<float>(scales, 1e-3F), type, x.data());
        const std::vector<std::uint8_t> mask = RandomMask(random, n);
        std::vector<float> threshold(scales), scale(scales), expected_scale(scales);
        TernaryFakeQuantizeArgs args;
        args.dtype = type;
        args.layout = layout;
        args.x = x.data();
        args.mask = random() % 2 == 0 ? mask.data() : nullptr;
        args.y = expected.data();
        args.scale = expected_scale.data();
        reference::ternary_fake_quantize_ref(args);

        // the public function with this variant's kernels
        const auto reduce = [&](const float* above) {
          const MagnitudeArgs magnitudes = {type, layout, x.data(), args.mask, above};
          const std::int64_t pieces = PiecesPerScale(layout);
          std::vector<MagnitudeSums> units(scales * static_cast<std::size_t>(pieces));
          GetParam()->reduce_magnitudes(magnitudes, 0, std::ssize(units), units.data());
          EXPECT_EQ(pieces, 1);
          return units;
        };
        std::vector<MagnitudeSums> found = reduce(nullptr);
        for (std::size_t s = 0; s < scales; ++s) threshold[s] = TernaryThreshold(found[s]);
        found = reduce(threshold.data());
        for (std::size_t s = 0; s < scales; ++s) {
          const TernaryScale chosen = ChooseTernaryScale(found[s], threshold[s]);
          scale[s] = chosen.scale;
          threshold[s] = chosen.threshold;
          ASSERT_EQ(scale[s], expected_scale[s]) << s << " of " << n;
        }
        args.y = y.data();
        args.scale = scale.data();
        GetParam()->ternary_fake_quantize({args, threshold.data()}, 0, n);
        testing::ExpectSameFloats(y.data(), expected.data(), type, n);
      }
    }
  }
}

TEST_P(TernaryFakeQuantize, SumsOfSeveralPiecesHaveTheSameBits) {
  std::mt19937 random(8);
  for (const QuantLayout& layout :
       {QuantLayout::PerTensor(30001), QuantLayout{3, 2, 5003, 1}, QuantLayout{2, 2, 4099, 3}}) {
    std::vector<float> x(static_cast<std::size_t>(layout.numel()));
    for (float& v : x) v = std::normal_distribution<float>(0.0F, 1.0F)(random);
    const std::int64_t count = layout.num_scales() * PiecesPerScale(layout);
    std::vector<MagnitudeSums> found(static_cast<std::size_t>(count)), expected(found.size());
    MagnitudeArgs args;
    args.layout = layout;
    args.x = x.data();
    cpu::AllKernels()[0].reduce_magnitudes(args, 0, count, expected.data());
    GetParam()->reduce_magnitudes(args, 0, count, found.data());
    for (std::size_t u = 0; u < found.size(); ++u) {
      ASSERT_EQ(found[u].sum, expected[u].sum) << u;
      ASSERT_EQ(found[u].count, expected[u].count) << u;
      ASSERT_EQ(found[u].max, expected[u].max) << u;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, TernaryFakeQuantize, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

TEST(TernaryFakeQuantizePublic, EqualsReferenceInPiecesOfAnyOrder) {
  std::mt19937 random(9);
  for (const QuantLayout& layout :
       {QuantLayout::PerTensor(70001), QuantLayout{1, 7, 9001, 1}, QuantLayout{2, 3, 5000, 2},
        QuantLayout{1, 3000, 32, 1}, QuantLayout{1, 1, 40, 1000}}) {
    const auto n = static_cast<std::size_t>(layout.numel());
    const auto scales = static_cast<std::size_t>(layout.num_scales());
    std::vector<float> x(n), y(n), expected(n), scale(scales), expected_scale(scales);
    testing::FillHard(random, layout, std::vector<float>(scales, 0.3F), FloatType::kFloat32,
                      x.data());
    const std::vector<std::uint8_t> mask = RandomMask(random, layout.numel());
    TernaryFakeQuantizeArgs args;
    args.layout = layout;
    args.x = x.data();
    args.mask = mask.data();
    args.y = expected.data();
    args.scale = expected_scale.data();
    reference::ternary_fake_quantize_ref(args);
    args.y = y.data();
    args.scale = scale.data();
    const auto reversed = [](std::int64_t pieces, const RangeBody& body) {
      for (std::int64_t i = pieces; i-- > 0;) body(i, i + 1);
    };
    ternary_fake_quantize(args, reversed);
    EXPECT_EQ(scale, expected_scale);
    testing::ExpectSameFloats(y.data(), expected.data(), FloatType::kFloat32, layout.numel());
  }
}

TEST(TernaryFakeQuantizePublic, ByHandAndDeadChannels) {
  // mean |x| = 1, threshold 0.7, scale (1 + 2) / 2; then zeros, non-finite values, a pruned channel
  const float x[] = {-1.0F, 0.3F,  2.0F,      0.7F,          0.0F,       0.0F,
                     0.0F,  -0.0F, kInfinity, std::nanf(""), -kInfinity, kInfinity,
                     5.0F,  6.0F,  7.0F,      std::nanf("")};
  const std::uint8_t mask[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
  float y[16], scale[4];
  TernaryFakeQuantizeArgs args;
  args.layout = {1, 4, 4, 1};
  args.x = x;
  args.mask = mask;
  args.y = y;
  args.scale = scale;
  ternary_fake_quantize(args);
  EXPECT_EQ(scale[0], 1.5F);
  EXPECT_EQ(y[0], -1.5F);
  EXPECT_EQ(y[1], 0.0F);
  EXPECT_EQ(y[2], 1.5F);
  EXPECT_EQ(y[3], 0.0F);
  for (int s = 1; s < 4; ++s) EXPECT_EQ(scale[s], 1.0F);
  for (int e = 4; e < 16; ++e) {
    if (e == 9) {
      EXPECT_TRUE(std::isnan(y[e]));
    } else {
      EXPECT_EQ(y[e], 0.0F) << e;
      EXPECT_FALSE(std::signbit(y[e])) << e;
    }
  }
}

}  // namespace
}  // namespace edgeqat
