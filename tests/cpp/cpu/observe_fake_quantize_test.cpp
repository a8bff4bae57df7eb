// SPDX-License-Identifier: Apache-2.0
// Every variant of observe_fake_quantize: y, bits and the range, bit for bit against the reference.
#include "edgeqat/observe_fake_quantize.h"

#include "core/reference/observe_fake_quantize_ref.h"
#include "cpu/kernel_cases.h"
#include "cpu/observe_chunks.h"

namespace edgeqat {
namespace {

class ObserveFakeQuantize : public ::testing::TestWithParam<const cpu::KernelTable*> {};

struct Output {
  explicit Output(const QuantLayout& layout, FloatType type)
      : y(static_cast<std::size_t>(layout.numel() * SizeOf(type))),
        bits(static_cast<std::size_t>((layout.numel() + 7) / 8)),
        min(static_cast<std::size_t>(layout.num_scales())),
        max(min.size()) {}

  std::vector<char> y;
  std::vector<std::uint8_t> bits;
  std::vector<float> min, max;
  std::int64_t non_finite = 0;
};

// One call of the kernel, through the public driver's merge, and of the reference.
void Compare(const cpu::KernelTable& kernels, std::mt19937& random, FloatType type,
             const QuantLayout& layout, ActivationKind activation) {
  const std::int64_t n = layout.numel();
  const testing::QParamArrays qparams = testing::RandomQParams(random, layout, {-8, 7});
  testing::GuardedBuffer x(static_cast<std::size_t>(n * SizeOf(type)));
  testing::FillHard(random, layout, qparams.scale, type, x.data());
  testing::GuardedBuffer mask(static_cast<std::size_t>(n));
  for (std::int64_t e = 0; e < n; ++e)
    mask.data()[e] = static_cast<std::uint8_t>(random() % 3 != 0);
  const std::uint8_t* const keep = random() % 2 == 0 ? mask.data() : nullptr;
  Output actual(layout, type), expected(layout, type);
  const auto args_for = [&](Output& out) {
    return ObserveFakeQuantizeArgs{.quantize = {.dtype = type,
                                                .layout = layout,
                                                .x = x.data(),
                                                .scale = qparams.scale.data(),
                                                .zero_point = qparams.zero_point.data(),
                                                .qmin = -8,
                                                .qmax = 7,
                                                .mask = keep,
                                                .y = out.y.data(),
                                                .bits = out.bits.data(),
                                                .activation = activation},
                                   .min = out.min.data(),
                                   .max = out.max.data()};
  };
  expected.non_finite = reference::observe_fake_quantize_ref(args_for(expected));
  const ObserveFakeQuantizeArgs args = args_for(actual);
  actual.non_finite = cpu::ObserveChunks(
      layout, args.min, args.max, {},
      [&](std::int64_t begin, std::int64_t end, std::int32_t* low, std::int32_t* high) {
        return kernels.observe_fake_quantize(args.quantize, begin, end, low, high);
      });
  testing::ExpectSameFloats(actual.y.data(), expected.y.data(), type, n);
  ASSERT_EQ(actual.bits, expected.bits);
  const auto bytes = expected.min.size() * sizeof(float);
  ASSERT_EQ(std::memcmp(actual.min.data(), expected.min.data(), bytes), 0) << n;
  ASSERT_EQ(std::memcmp(actual.max.data(), expected.max.data(), bytes), 0) << n;
  ASSERT_EQ(actual.non_finite, expected.non_finite);
}

TEST_P(ObserveFakeQuantize, EqualsReferenceAtEverySize) {
  std::mt19937 random(1);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        const auto activation = static_cast<ActivationKind>(random() % kActivationKinds);
        Compare(*GetParam(), random, type, layout, activation);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(ObserveFakeQuantize, EqualsReferenceOverSeveralChunks) {
  std::mt19937 random(2);
  for (const QuantLayout& layout :
       {QuantLayout::PerTensor(70'001), QuantLayout{2, 5, 9001, 1}, QuantLayout{1, 1, 9001, 9}}) {
    for (int kind = 0; kind < kActivationKinds; ++kind) {
      Compare(*GetParam(), random, FloatType::kFloat32, layout, static_cast<ActivationKind>(kind));
      if (HasFatalFailure()) return;
    }
  }
}

// relu makes -Inf a finite 0, relu6 +Inf a finite 6: neither is counted.
TEST_P(ObserveFakeQuantize, CountsWhatIsNotFiniteAfterTheActivation) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float x[] = {kInfinity, -kInfinity, std::nanf(""), -2.0F, 3.0F};
  const float scale = 1.0F;
  const std::int32_t zero_point = 0;
  const std::int64_t counts[] = {3, 2, 1, 3};
  const float lows[] = {-2.0F, 0.0F, 0.0F, -2.0F * 1.0F / 6.0F};
  const float highs[] = {3.0F, 3.0F, 6.0F, 3.0F};
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    float y[5];
    std::uint8_t bits = 0;
    std::int32_t low = cpu::kInfKey;
    std::int32_t high = cpu::kNegInfKey;
    const FakeQuantizeArgs args = {.layout = QuantLayout::PerTensor(5),
                                   .x = x,
                                   .scale = &scale,
                                   .zero_point = &zero_point,
                                   .y = y,
                                   .bits = &bits,
                                   .activation = static_cast<ActivationKind>(kind)};
    EXPECT_EQ(GetParam()->observe_fake_quantize(args, 0, 5, &low, &high), counts[kind]) << kind;
    EXPECT_EQ(cpu::FromKey(low), lows[kind]) << kind;
    EXPECT_EQ(cpu::FromKey(high), highs[kind]) << kind;
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, ObserveFakeQuantize, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

// The public function over an adversarial pool: pieces in reverse order, one chunk each.
TEST(ObserveFakeQuantizePublic, GivesTheSameBitsOverAnyPool) {
  std::mt19937 random(3);
  const QuantLayout layout = {1, 3, 40'009, 1};
  const testing::QParamArrays qparams = testing::RandomQParams(random, layout, {0, 255});
  std::vector<float> x(static_cast<std::size_t>(layout.numel()));
  testing::FillHard(random, layout, qparams.scale, FloatType::kFloat32, x.data());
  Output serial(layout, FloatType::kFloat32), pooled(layout, FloatType::kFloat32);
  for (Output* const out : {&serial, &pooled}) {
    const ObserveFakeQuantizeArgs args = {.quantize = {.layout = layout,
                                                       .x = x.data(),
                                                       .scale = qparams.scale.data(),
                                                       .zero_point = qparams.zero_point.data(),
                                                       .qmin = 0,
                                                       .qmax = 255,
                                                       .y = out->y.data(),
                                                       .bits = out->bits.data()},
                                          .min = out->min.data(),
                                          .max = out->max.data()};
    const ParallelFor reversed = [](std::int64_t count, const RangeBody& body) {
      for (std::int64_t i = count; i-- > 0;) body(i, i + 1);
    };
    out->non_finite = observe_fake_quantize(args, out == &pooled ? reversed : ParallelFor{});
  }
  EXPECT_EQ(serial.y, pooled.y);
  EXPECT_EQ(serial.bits, pooled.bits);
  EXPECT_EQ(serial.min, pooled.min);
  EXPECT_EQ(serial.max, pooled.max);
  EXPECT_EQ(serial.non_finite, pooled.non_finite);
}

}  // namespace
}  // namespace edgeqat
