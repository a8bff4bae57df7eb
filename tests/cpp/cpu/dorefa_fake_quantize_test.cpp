// SPDX-License-Identifier: Apache-2.0
// dorefa_fake_quantize and its backward against the scalar reference in double; every variant
// against the first bit for bit.
#include "edgeqat/dorefa_fake_quantize.h"

#include "core/elementary.h"
#include "core/reference/dorefa_fake_quantize_ref.h"
#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

using testing::GuardedBuffer;

// Weights as they are, and the values that break formulas.
void FillWeights(std::mt19937& random, FloatType type, std::int64_t n, void* x) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float special[] = {0.0F,          -0.0F,  kInfinity, -kInfinity,
                           std::nanf(""), 1e-41F, 30.0F,     -3e38F};
  const float spread = random() % 2 == 0 ? 0.3F : 3.0F;
  for (std::int64_t e = 0; e < n; ++e) {
    float v = std::normal_distribution<float>(0.0F, spread)(random);
    if (random() % 40 == 0) v = special[random() % std::size(special)];
    reference::StoreFloat(v, type, e, x);
  }
}

class DorefaFakeQuantize : public ::testing::TestWithParam<const cpu::KernelTable*> {};

TEST_P(DorefaFakeQuantize, EveryVariantHasTheBitsOfTheFirst) {
  std::mt19937 random(11);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        const auto bytes = static_cast<std::size_t>(n * SizeOf(type));
        GuardedBuffer x(bytes), grad(bytes), y(bytes), expected(bytes);
        FillWeights(random, type, n, x.data());
        FillWeights(random, type, n, grad.data());
        std::vector<float> divisor(static_cast<std::size_t>(layout.num_scales()));
        for (float& d : divisor) d = DorefaDivisor(0.1F * static_cast<float>(random() % 30));
        std::vector<std::uint8_t> mask(static_cast<std::size_t>(n));
        for (std::uint8_t& keep : mask) keep = random() % 3 == 0 ? 0 : 1;
        DorefaFakeQuantizeArgs args;
        args.dtype = type;
        args.layout = layout;
        args.x = x.data();
        args.mask = random() % 2 == 0 ? mask.data() : nullptr;
        args.y = expected.data();
        cpu::AllKernels()[0].dorefa_fake_quantize({args, divisor.data()}, 0, n);
        args.y = y.data();
        GetParam()->dorefa_fake_quantize({args, divisor.data()}, 0, n);
        testing::ExpectSameFloats(y.data(), expected.data(), type, n);
        DorefaFakeQuantizeBackwardArgs back;
        back.dtype = type;
        back.layout = layout;
        back.grad = grad.data();
        back.x = x.data();
        back.mask = args.mask;
        back.grad_x = expected.data();
        cpu::AllKernels()[0].dorefa_fake_quantize_backward({back, divisor.data()}, 0, n);
        back.grad_x = y.data();
        GetParam()->dorefa_fake_quantize_backward({back, divisor.data()}, 0, n);
        testing::ExpectSameFloats(y.data(), expected.data(), type, n);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, DorefaFakeQuantize, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

TEST(DorefaFakeQuantizePublic, CodesAreThoseOfDoubleExceptBesideTies) {
  std::mt19937 random(12);
  std::int64_t compared = 0, ties = 0;
  for (const testing::CodeRange range :
       {testing::CodeRange{-1, 1}, {-8, 7}, {-7, 7}, {-127, 127}}) {
    for (const std::int64_t n : {12, 60, 1000, 30000}) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        std::vector<float> x(static_cast<std::size_t>(n)), y(x.size()), expected(x.size());
        std::vector<double> position(x.size());
        FillWeights(random, FloatType::kFloat32, n, x.data());
        DorefaFakeQuantizeArgs args;
        args.layout = layout;
        args.x = x.data();
        args.qmin = range.qmin;
        args.qmax = range.qmax;
        args.y = expected.data();
        reference::dorefa_fake_quantize_ref(args, position.data());
        args.y = y.data();
        dorefa_fake_quantize(args);
        for (std::size_t e = 0; e < x.size(); ++e) {
          ++compared;
          const double fraction = std::abs(position[e]) - std::floor(std::abs(position[e]));
          if (std::abs(fraction - 0.5) < 1e-4) {
            ++ties;
            EXPECT_LE(std::abs(y[e] - expected[e]), 1.001F / static_cast<float>(range.qmax));
          } else if (std::isnan(expected[e])) {
            EXPECT_TRUE(std::isnan(y[e]));
          } else {
            ASSERT_EQ(y[e], expected[e]) << x[e] << " at " << position[e];
          }
        }
      }
    }
  }
  EXPECT_LT(ties * 1000, compared);
}

TEST(DorefaFakeQuantizePublic, GradientIsThatOfDouble) {
  std::mt19937 random(13);
  for (const QuantLayout& layout : testing::Layouts(3000)) {
    std::vector<float> x(3000), grad(3000), found(3000), expected(3000);
    FillWeights(random, FloatType::kFloat32, 3000, x.data());
    FillWeights(random, FloatType::kFloat32, 3000, grad.data());
    DorefaFakeQuantizeBackwardArgs args;
    args.layout = layout;
    args.grad = grad.data();
    args.x = x.data();
    args.grad_x = expected.data();
    reference::dorefa_fake_quantize_backward_ref(args);
    args.grad_x = found.data();
    dorefa_fake_quantize_backward(args);
    for (std::size_t e = 0; e < x.size(); ++e) {
      if (std::isnan(expected[e])) {
        ASSERT_TRUE(std::isnan(found[e])) << x[e] << " " << grad[e];
      } else {
        const float bound = 1e-6F * std::abs(expected[e]) + 1e-37F;
        ASSERT_TRUE(found[e] == expected[e] || std::abs(found[e] - expected[e]) <= bound)
            << found[e] << " instead of " << expected[e] << " at " << x[e];
      }
    }
  }
}

TEST(DorefaFakeQuantizePublic, TheLargestSurvivorIsOneAndAChannelOfZerosStaysZero) {
  const float x[] = {0.5F, -0.25F, 9.0F, 0.0F, -0.0F, 0.0F};
  const std::uint8_t mask[] = {1, 1, 0, 1, 1, 1};
  float y[6];
  DorefaFakeQuantizeArgs args;
  args.layout = {1, 2, 3, 1};
  args.x = x;
  args.mask = mask;
  args.y = y;
  dorefa_fake_quantize(args);
  EXPECT_EQ(y[0], 7.0F * (1.0F / 7.0F));
  EXPECT_EQ(y[1], -4.0F * (1.0F / 7.0F));  // tanh(0.25) / tanh(0.5) = 0.53 of 7 steps: 3.71
  for (int e = 2; e < 6; ++e) {
    EXPECT_EQ(y[e], 0.0F);
    EXPECT_FALSE(std::signbit(y[e]));
  }
}

}  // namespace
}  // namespace edgeqat
