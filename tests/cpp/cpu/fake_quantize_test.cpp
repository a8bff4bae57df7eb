// SPDX-License-Identifier: Apache-2.0
// Every variant of fake_quantize and its backward, bit for bit against the scalar reference.
#include "edgeqat/fake_quantize.h"

#include "core/reference/fake_quantize_ref.h"
#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

using testing::CodeRange;
using testing::GuardedBuffer;

class FakeQuantize : public ::testing::TestWithParam<const cpu::KernelTable*> {};

// One call of the kernel and of the reference on the same guarded input.
void Compare(const cpu::KernelTable& kernels, std::mt19937& random, FloatType type,
             const QuantLayout& layout, CodeRange range, bool with_mask,
             ActivationKind activation = ActivationKind::kNone) {
  const std::int64_t n = layout.numel();
  const auto bytes = static_cast<std::size_t>(n * SizeOf(type));
  const auto bit_bytes = static_cast<std::size_t>((n + 7) / 8);
  const testing::QParamArrays qparams = testing::RandomQParams(random, layout, range);
  GuardedBuffer x(bytes), y(bytes), bits(bit_bytes), mask(static_cast<std::size_t>(n));
  testing::FillHard(random, layout, qparams.scale, type, x.data());
  for (std::int64_t e = 0; e < n; ++e) mask.data()[e] = random() % 4 != 0 ? 1 : 0;
  std::memset(bits.data(), 0xFF, bit_bytes);
  std::vector<char> expected_y(bytes);
  std::vector<std::uint8_t> expected_bits(bit_bytes);
  FakeQuantizeArgs args = {.dtype = type,
                           .layout = layout,
                           .x = x.data(),
                           .scale = qparams.scale.data(),
                           .zero_point = qparams.zero_point.data(),
                           .qmin = range.qmin,
                           .qmax = range.qmax,
                           .mask = with_mask ? mask.data() : nullptr,
                           .y = expected_y.data(),
                           .bits = expected_bits.data(),
                           .activation = activation};
  reference::fake_quantize_ref(args);
  args.y = y.data();
  args.bits = bits.data();
  kernels.fake_quantize(args, 0, n);
  testing::ExpectSameFloats(y.data(), expected_y.data(), type, n);
  ASSERT_EQ(std::memcmp(bits.data(), expected_bits.data(), bit_bytes), 0) << "bits of " << n;

  std::memset(y.data(), 0x55, bytes);
  args.bits = nullptr;
  kernels.fake_quantize(args, 0, n);
  testing::ExpectSameFloats(y.data(), expected_y.data(), type, n);

  args.y = x.data();  // in place, and with bits
  args.bits = bits.data();
  kernels.fake_quantize(args, 0, n);
  testing::ExpectSameFloats(x.data(), expected_y.data(), type, n);
  ASSERT_EQ(std::memcmp(bits.data(), expected_bits.data(), bit_bytes), 0) << "in place, " << n;
}

TEST_P(FakeQuantize, EqualsReferenceAtEverySize) {
  std::mt19937 random(1);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        const CodeRange range = testing::kRanges[random() % std::size(testing::kRanges)];
        const auto activation = static_cast<ActivationKind>(random() % kActivationKinds);
        Compare(*GetParam(), random, type, layout, range, random() % 3 == 0, activation);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(FakeQuantize, EqualsReferenceWithEveryActivation) {
  std::mt19937 random(12);
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : {QuantLayout::PerTensor(4099), QuantLayout{2, 5, 27, 1},
                                        QuantLayout{3, 4, 600, 1}, QuantLayout{1, 7, 32, 3}}) {
        for (const CodeRange range : {CodeRange{-8, 7}, CodeRange{0, 255}, CodeRange{-127, 127}}) {
          Compare(*GetParam(), random, type, layout, range, false,
                  static_cast<ActivationKind>(kind));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// The gradient stops where the activation's does, not where the code does: 0.4 rounds to code 0, as
// -0.4 does, but only -0.4 was cut off; 5.9 and 6.0 round to the same code too.
TEST_P(FakeQuantize, BitsFollowTheActivation) {
  const float x[] = {-0.4F, 0.4F, 0.0F, -0.0F, 5.9F, 6.0F, 7.0F, 1e-40F};
  const float expected[] = {0, 0, 0, 0, 6, 6, 6, 0};
  const float scale = 1.0F;
  const std::int32_t zero_point = -128;
  float y[8];
  std::uint8_t bits = 0;
  const FakeQuantizeArgs args = {.layout = QuantLayout::PerTensor(8),
                                 .x = x,
                                 .scale = &scale,
                                 .zero_point = &zero_point,
                                 .y = y,
                                 .bits = &bits,
                                 .activation = ActivationKind::kRelu6};
  GetParam()->fake_quantize(args, 0, 8);
  EXPECT_EQ(std::memcmp(y, expected, sizeof(y)), 0);
  EXPECT_EQ(bits, 0b10010010);
}

TEST_P(FakeQuantize, HardswishBackwardEqualsReference) {
  std::mt19937 random(13);
  for (const std::int64_t n : {std::int64_t{1}, std::int64_t{7}, std::int64_t{64},
                               std::int64_t{511}, std::int64_t{2051}}) {
    for (const FloatType type : testing::kFloatTypes) {
      const auto bytes = static_cast<std::size_t>(n * SizeOf(type));
      GuardedBuffer grad(bytes), x(bytes), grad_x(bytes), bits(static_cast<std::size_t>(n + 7) / 8);
      testing::FillHard(random, QuantLayout::PerTensor(n), {0.1F}, type, grad.data());
      testing::FillHard(random, QuantLayout::PerTensor(n), {0.02F}, type, x.data());
      for (std::size_t i = 0; i < bits.size(); ++i) {
        bits.data()[i] = static_cast<std::uint8_t>(random());
      }
      std::vector<char> expected(bytes);
      FakeQuantizeBackwardArgs args = {
          type, n, grad.data(), bits.data(), expected.data(), x.data(), ActivationKind::kHardswish};
      reference::fake_quantize_backward_ref(args);
      args.grad_x = grad_x.data();
      GetParam()->fake_quantize_backward(args, 0, n);
      testing::ExpectSameFloats(grad_x.data(), expected.data(), type, n);
      args.grad_x = grad.data();  // in place
      GetParam()->fake_quantize_backward(args, 0, n);
      testing::ExpectSameFloats(grad.data(), expected.data(), type, n);
    }
  }
}

TEST_P(FakeQuantize, EqualsReferenceInEveryRange) {
  std::mt19937 random(2);
  for (const CodeRange range : testing::kRanges) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : {QuantLayout::PerTensor(4099), QuantLayout{2, 5, 27, 1},
                                        QuantLayout{3, 4, 600, 1}, QuantLayout{1, 7, 32, 3}}) {
        Compare(*GetParam(), random, type, layout, range, false);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// The ties of every step and both neighbours, at every zero point of a 4-bit range.
TEST_P(FakeQuantize, RoundsTiesToEven) {
  for (const float scale : {1.0F, 0.1F, 0.3F, 7.0F}) {
    for (std::int32_t zero_point = -8; zero_point <= 7; ++zero_point) {
      std::vector<float> x;
      for (int k = -40; k <= 40; ++k) {
        const float tie = (static_cast<float>(k) + 0.5F) * scale;
        x.insert(x.end(), {tie, std::nextafter(tie, 1e9F), std::nextafter(tie, -1e9F)});
      }
      const auto n = static_cast<std::int64_t>(x.size());
      std::vector<float> y(x.size()), expected(x.size());
      std::vector<std::uint8_t> bits(x.size()), expected_bits(x.size());
      FakeQuantizeArgs args = {.layout = QuantLayout::PerTensor(n),
                               .x = x.data(),
                               .scale = &scale,
                               .zero_point = &zero_point,
                               .qmin = -8,
                               .qmax = 7,
                               .y = expected.data(),
                               .bits = expected_bits.data()};
      reference::fake_quantize_ref(args);
      args.y = y.data();
      args.bits = bits.data();
      GetParam()->fake_quantize(args, 0, n);
      testing::ExpectSameFloats(y.data(), expected.data(), FloatType::kFloat32, n);
      ASSERT_EQ(bits, expected_bits);
    }
  }
}

TEST_P(FakeQuantize, KnownValues) {
  const float x[] = {0.5F,    1.5F,     -0.5F,
                     -0.4F,   126.5F,   127.5F,
                     -128.5F, -128.51F, std::numeric_limits<float>::infinity(),
                     -1e30F,  45.5F,    0.0F};
  const float expected[] = {0, 2, 0, 0, 126, 127, -128, -128, 127, -128, 46, 0};
  const float scale = 1.0F;
  const std::int32_t zero_point = 0;
  float y[12];
  std::uint8_t bits[2];
  const FakeQuantizeArgs args = {.layout = QuantLayout::PerTensor(12),
                                 .x = x,
                                 .scale = &scale,
                                 .zero_point = &zero_point,
                                 .y = y,
                                 .bits = bits};
  GetParam()->fake_quantize(args, 0, 12);
  EXPECT_EQ(std::memcmp(y, expected, sizeof(y)), 0);
  // 127.5 rounds to 128 and is out of range, -128.5 rounds to -128 and is in
  EXPECT_EQ(bits[0], 0b01011111);
  EXPECT_EQ(bits[1], 0b00001100);
}

// Chunks may be taken in any order and size, as threads do.
TEST_P(FakeQuantize, DoesNotDependOnTheCut) {
  std::mt19937 random(3);
  const QuantLayout layout = {3, 7, 331, 1};
  const std::int64_t n = layout.numel();
  const testing::QParamArrays qparams = testing::RandomQParams(random, layout, {-128, 127});
  std::vector<float> x(static_cast<std::size_t>(n)), whole(x), cut(x);
  std::vector<std::uint8_t> whole_bits((x.size() + 7) / 8), cut_bits(whole_bits);
  testing::FillHard(random, layout, qparams.scale, FloatType::kFloat32, x.data());
  FakeQuantizeArgs args = {.layout = layout,
                           .x = x.data(),
                           .scale = qparams.scale.data(),
                           .zero_point = qparams.zero_point.data(),
                           .y = whole.data(),
                           .bits = whole_bits.data()};
  GetParam()->fake_quantize(args, 0, n);
  args.y = cut.data();
  args.bits = cut_bits.data();
  for (std::int64_t end = n; end > 0;) {
    const std::int64_t begin =
        std::max<std::int64_t>(0, (end - 1) / 8 * 8 - 8 * static_cast<std::int64_t>(random() % 90));
    GetParam()->fake_quantize(args, begin, end);
    end = begin;
  }
  EXPECT_EQ(std::memcmp(whole.data(), cut.data(), x.size() * sizeof(float)), 0);
  EXPECT_EQ(whole_bits, cut_bits);
}

// Also NaN payloads: every variant gives the bits of the first one.
TEST_P(FakeQuantize, EveryVariantGivesTheSameBits) {
  std::mt19937 random(4);
  const QuantLayout layout = QuantLayout::PerTensor(5003);
  for (const FloatType type : testing::kFloatTypes) {
    const testing::QParamArrays qparams = testing::RandomQParams(random, layout, {-8, 7});
    std::vector<char> x(static_cast<std::size_t>(5003 * SizeOf(type))), y(x), first(x);
    testing::FillHard(random, layout, qparams.scale, type, x.data());
    FakeQuantizeArgs args = {.dtype = type,
                             .layout = layout,
                             .x = x.data(),
                             .scale = qparams.scale.data(),
                             .zero_point = qparams.zero_point.data(),
                             .qmin = -8,
                             .qmax = 7,
                             .y = first.data()};
    testing::Variants().front()->fake_quantize(args, 0, 5003);
    args.y = y.data();
    GetParam()->fake_quantize(args, 0, 5003);
    EXPECT_EQ(first, y);
  }
}

TEST_P(FakeQuantize, BackwardSelectsBits) {
  std::mt19937 random(5);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      const auto bytes = static_cast<std::size_t>(n * SizeOf(type));
      const auto bit_bytes = static_cast<std::size_t>((n + 7) / 8);
      GuardedBuffer grad(bytes), grad_x(bytes), bits(bit_bytes);
      testing::FillHard(random, QuantLayout::PerTensor(n), {0.1F}, type, grad.data());
      for (std::size_t i = 0; i < bit_bytes; ++i)
        bits.data()[i] = static_cast<std::uint8_t>(random());
      std::vector<char> expected(bytes);
      FakeQuantizeBackwardArgs args = {type, n, grad.data(), bits.data(), expected.data()};
      reference::fake_quantize_backward_ref(args);
      args.grad_x = grad_x.data();
      GetParam()->fake_quantize_backward(args, 0, n);
      ASSERT_EQ(std::memcmp(grad_x.data(), expected.data(), bytes), 0) << n;
      args.grad_x = grad.data();  // in place
      GetParam()->fake_quantize_backward(args, 0, n);
      ASSERT_EQ(std::memcmp(grad.data(), expected.data(), bytes), 0) << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, FakeQuantize, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

// The public function over an adversarial pool: pieces in reverse order, one chunk each.
TEST(FakeQuantizePublic, GivesTheSameBitsOverAnyPool) {
  std::mt19937 random(6);
  const QuantLayout layout = {1, 1, 12347, 8};
  const std::int64_t n = layout.numel();
  const testing::QParamArrays qparams = testing::RandomQParams(random, layout, {0, 255});
  std::vector<float> x(static_cast<std::size_t>(n)), serial(x), pooled(x);
  std::vector<std::uint8_t> serial_bits((x.size() + 7) / 8), pooled_bits(serial_bits);
  testing::FillHard(random, layout, qparams.scale, FloatType::kFloat32, x.data());
  FakeQuantizeArgs args = {.layout = layout,
                           .x = x.data(),
                           .scale = qparams.scale.data(),
                           .zero_point = qparams.zero_point.data(),
                           .qmin = 0,
                           .qmax = 255,
                           .y = serial.data(),
                           .bits = serial_bits.data()};
  fake_quantize(args);
  args.y = pooled.data();
  args.bits = pooled_bits.data();
  fake_quantize(args, [](std::int64_t count, const RangeBody& body) {
    for (std::int64_t i = count; i-- > 0;) body(i, i + 1);
  });
  EXPECT_EQ(std::memcmp(serial.data(), pooled.data(), x.size() * sizeof(float)), 0);
  EXPECT_EQ(serial_bits, pooled_bits);
}

TEST(FakeQuantizePublic, AcceptsAnEmptyTensor) {
  fake_quantize({.layout = QuantLayout::PerTensor(0)});
  fake_quantize({.layout = {2, 0, 3, 1}});
  fake_quantize_backward({});
}

}  // namespace
}  // namespace edgeqat
