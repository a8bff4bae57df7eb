// SPDX-License-Identifier: Apache-2.0
// Every variant of quantize and dequantize against the scalar reference, and against fake_quantize.
#include "edgeqat/quantize.h"

#include "core/reference/fake_quantize_ref.h"
#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

using testing::CodeRange;
using testing::GuardedBuffer;

class Quantize : public ::testing::TestWithParam<const cpu::KernelTable*> {};

void Compare(const cpu::KernelTable& kernels, std::mt19937& random, FloatType type,
             const QuantLayout& layout, CodeRange range) {
  const auto n = static_cast<std::size_t>(layout.numel());
  const testing::QParamArrays qparams = testing::RandomQParams(random, layout, range);
  GuardedBuffer x(n * static_cast<std::size_t>(SizeOf(type))), codes(n), y(n * sizeof(float));
  testing::FillHard(random, layout, qparams.scale, type, x.data());
  std::vector<std::uint8_t> expected_codes(n);
  QuantizeArgs args = {.dtype = type,
                       .layout = layout,
                       .x = x.data(),
                       .scale = qparams.scale.data(),
                       .zero_point = qparams.zero_point.data(),
                       .qmin = range.qmin,
                       .qmax = range.qmax,
                       .codes = expected_codes.data()};
  reference::quantize_ref(args);
  args.codes = codes.data();
  kernels.quantize(args, 0, layout.numel());
  ASSERT_EQ(std::memcmp(codes.data(), expected_codes.data(), n), 0) << n;

  std::vector<float> expected_y(n);
  DequantizeArgs back = {.is_signed = range.qmin < 0,
                         .layout = layout,
                         .codes = codes.data(),
                         .scale = qparams.scale.data(),
                         .zero_point = qparams.zero_point.data(),
                         .y = expected_y.data()};
  reference::dequantize_ref(back);
  back.y = y.data<float>();
  kernels.dequantize(back, 0, layout.numel());
  ASSERT_EQ(std::memcmp(y.data(), expected_y.data(), n * sizeof(float)), 0) << n;

  if (type != FloatType::kFloat32) return;
  // train = deploy: dequantized codes are fake_quantize's values, except that NaN has no code
  std::vector<float> simulated(n);
  kernels.fake_quantize({.layout = layout,
                         .x = x.data(),
                         .scale = qparams.scale.data(),
                         .zero_point = qparams.zero_point.data(),
                         .qmin = range.qmin,
                         .qmax = range.qmax,
                         .y = simulated.data()},
                        0, layout.numel());
  for (float& value : simulated) value = std::isnan(value) ? 0.0F : value;
  ASSERT_EQ(std::memcmp(y.data(), simulated.data(), n * sizeof(float)), 0) << n;
}

TEST_P(Quantize, EqualsReferenceAtEverySize) {
  std::mt19937 random(1);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        Compare(*GetParam(), random, type, layout,
                testing::kRanges[random() % std::size(testing::kRanges)]);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Quantize, EqualsReferenceInEveryRange) {
  std::mt19937 random(2);
  for (const CodeRange range : testing::kRanges) {
    for (const FloatType type : testing::kFloatTypes) {
      Compare(*GetParam(), random, type, QuantLayout::PerTensor(4099), range);
      Compare(*GetParam(), random, type, {2, 5, 27, 1}, range);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Quantize, NanBecomesTheZeroPoint) {
  const float x[] = {std::nanf(""), 1e30F, -1e30F};
  const float scale = 0.5F;
  const std::int32_t zero_point = 200;
  std::uint8_t codes[3];
  GetParam()->quantize({.layout = QuantLayout::PerTensor(3),
                        .x = x,
                        .scale = &scale,
                        .zero_point = &zero_point,
                        .qmin = 0,
                        .qmax = 255,
                        .codes = codes},
                       0, 3);
  EXPECT_EQ(codes[0], 200);
  EXPECT_EQ(codes[1], 255);
  EXPECT_EQ(codes[2], 0);
}

// All 256 codes, signed and unsigned.
TEST_P(Quantize, DequantizesEveryCode) {
  for (const bool is_signed : {false, true}) {
    std::vector<std::uint8_t> codes(256);
    for (int i = 0; i < 256; ++i) codes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i);
    const float scale = 0.25F;
    const std::int32_t zero_point = is_signed ? -3 : 7;
    std::vector<float> y(256);
    GetParam()->dequantize({.is_signed = is_signed,
                            .layout = QuantLayout::PerTensor(256),
                            .codes = codes.data(),
                            .scale = &scale,
                            .zero_point = &zero_point,
                            .y = y.data()},
                           0, 256);
    for (int i = 0; i < 256; ++i) {
      const int code = is_signed && i > 127 ? i - 256 : i;
      EXPECT_EQ(y[static_cast<std::size_t>(i)], 0.25 * (code - zero_point));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, Quantize, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

}  // namespace
}  // namespace edgeqat
