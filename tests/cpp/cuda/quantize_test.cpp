// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of quantize and dequantize, emulated, against the scalar reference.
#include "cuda/quantize.h"

#include <gtest/gtest.h>

#include "core/reference/fake_quantize_ref.h"
#include "cuda/kernel_cases.h"
#include "cuda/quantize_rule.h"

namespace edgeqat::cuda {
namespace {

struct CodeRange {
  std::int32_t qmin;
  std::int32_t qmax;
};

template <typename T>
class QuantizeCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  static void ExpectEqualsReference(const QuantLayout& layout, CodeRange range,
                                    std::size_t offset) {
    const std::int64_t n = layout.numel();
    std::vector<float> scale(static_cast<std::size_t>(layout.num_scales()));
    std::vector<std::int32_t> zero_point(scale.size());
    for (std::size_t c = 0; c < scale.size(); ++c) {
      scale[c] = 0.03f * static_cast<float>(c + 1);
      zero_point[c] = range.qmin + static_cast<std::int32_t>(c) % (range.qmax - range.qmin + 1);
    }
    const Buffer<T> x(As<T>(HardValues(n, 0.03f, 11)), offset);
    const Buffer<std::uint8_t> codes(n, offset);
    const Buffer<std::uint8_t> expected_codes(n);
    QuantizeArgs args;
    args.dtype = TypeOf<T>();
    args.layout = layout;
    args.x = x.data();
    args.scale = scale.data();
    args.zero_point = zero_point.data();
    args.qmin = range.qmin;
    args.qmax = range.qmax;
    args.codes = codes.data();
    cuda::quantize(args, nullptr);
    args.codes = expected_codes.data();
    reference::quantize_ref(args);
    for (std::int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(codes[i], expected_codes[i]) << i << ": x " << ToFloat(x[i]);
    }

    const Buffer<float> y(n, offset);
    const Buffer<float> expected_y(n);
    DequantizeArgs back;
    back.is_signed = range.qmin < 0;
    back.layout = layout;
    back.codes = codes.data();
    back.scale = scale.data();
    back.zero_point = zero_point.data();
    back.y = y.data();
    cuda::dequantize(back, nullptr);
    back.y = expected_y.data();
    reference::dequantize_ref(back);
    for (std::int64_t i = 0; i < n; ++i) {
      ASSERT_TRUE(SameValue(y[i], expected_y[i])) << i << ": code " << int{codes[i]};
    }
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(QuantizeCuda, Types);

TYPED_TEST(QuantizeCuda, EveryGranularityAndRange) {
  for (const LayoutCase& c : LayoutCases()) {
    SCOPED_TRACE(c.name);
    for (const CodeRange range : {CodeRange{-128, 127}, {0, 255}, {-8, 7}, {0, 15}, {-2, 1}}) {
      this->ExpectEqualsReference(c.layout, range, 0);
    }
  }
}

TYPED_TEST(QuantizeCuda, EverySizeAlignedOrNot) {
  for (const std::int64_t n : Sizes()) {
    SCOPED_TRACE(n);
    for (const std::size_t offset : {0, 1, 3}) {
      this->ExpectEqualsReference(QuantLayout::PerTensor(n), {-128, 127}, offset);
    }
  }
}

TEST(QuantizeRule, DivisionIsNotAProductWithTheReciprocal) {
  const Grid grid{0.01f, 0.0f, -128.0f, 127.0f};
  EXPECT_EQ(CodeAt(GridPosition(0.045f, grid), grid), 5);
  EXPECT_EQ(std::nearbyint(0.045f * (1.0f / 0.01f)), 4.0f);
}

TEST(QuantizeRule, UncheckedScalesStayDefined) {
  // what a kernel meets when the caller passes a bad scale, which CUDA operators do not look at
  for (const float scale : {0.0f, -1.0f, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const Grid grid{scale, 3.0f, -8.0f, 7.0f};
    for (const float x : {0.0f, 1.0f, -1.0f, std::numeric_limits<float>::infinity()}) {
      const std::int32_t code = CodeAt(GridPosition(x, grid), grid);
      EXPECT_GE(code, -8);
      EXPECT_LE(code, 7);
    }
  }
}

}  // namespace
}  // namespace edgeqat::cuda
