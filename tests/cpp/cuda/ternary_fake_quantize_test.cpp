// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of ternary_fake_quantize, emulated, against the scalar reference; their sums
// against the CPU's bit for bit.
#include "cuda/ternary_fake_quantize.h"

#include <gtest/gtest.h>

#include "core/reference/ternary_fake_quantize_ref.h"
#include "cpu/isa_table.h"
#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

template <typename T>
class TernaryCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  static void ExpectEqualsReference(const QuantLayout& layout, std::size_t offset, bool masked) {
    const std::int64_t n = layout.numel();
    const Buffer<T> x(As<T>(HardValues(n, 0.01f, static_cast<unsigned>(n))), offset);
    const Buffer<T> y(n, offset), expected(n);
    const Buffer<std::uint8_t> mask(n, offset);
    for (std::int64_t i = 0; i < n; ++i) mask[i] = i % 5 != 0;
    const Buffer<float> scale(layout.num_scales()), expected_scale(layout.num_scales());
    const Buffer<char> workspace(TernaryWorkspace(layout));
    TernaryFakeQuantizeArgs args;
    args.dtype = TypeOf<T>();
    args.layout = layout;
    args.x = x.data();
    args.mask = masked ? mask.data() : nullptr;
    args.y = y.data();
    args.scale = scale.data();
    cuda::ternary_fake_quantize(args, workspace.data(), nullptr);
    args.y = expected.data();
    args.scale = expected_scale.data();
    reference::ternary_fake_quantize_ref(args);
    for (std::int64_t s = 0; s < layout.num_scales(); ++s) {
      ASSERT_EQ(scale[s], expected_scale[s]) << s;
    }
    for (std::int64_t i = 0; i < n; ++i) {
      ASSERT_TRUE(SameValue(y[i], expected[i])) << i << ": " << ToFloat(x[i]);
    }
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(TernaryCuda, Types);

TYPED_TEST(TernaryCuda, EveryGranularity) {
  for (const LayoutCase& c : LayoutCases()) {
    SCOPED_TRACE(c.name);
    for (const bool reversed : {false, true}) {
      emulation.reversed = reversed;
      this->ExpectEqualsReference(c.layout, 0, reversed);
    }
  }
}

TYPED_TEST(TernaryCuda, EverySizeAlignedOrNot) {
  for (const std::int64_t n : Sizes()) {
    SCOPED_TRACE(n);
    for (const std::size_t offset : {0, 1}) {
      this->ExpectEqualsReference(QuantLayout::PerTensor(n), offset, n % 2 == 0);
    }
  }
}

TEST(MagnitudesCuda, HaveTheBitsOfTheCpu) {
  emulation = {};
  for (const QuantLayout& layout : {QuantLayout::PerTensor(30001), QuantLayout{3, 2, 5003, 1},
                                    QuantLayout{2, 2, 4099, 3}, QuantLayout{1, 400, 9, 1}}) {
    const std::int64_t count = layout.num_scales() * PiecesPerScale(layout);
    std::mt19937 random(3);
    std::vector<float> x(static_cast<std::size_t>(layout.numel()));
    for (float& v : x) v = std::normal_distribution<float>(0.0f, 1.0f)(random);
    std::vector<MagnitudeSums> found(static_cast<std::size_t>(count)), expected(found.size());
    MagnitudeArgs args;
    args.layout = layout;
    args.x = x.data();
    reduce_magnitudes(args, found.data(), nullptr);
    cpu::AllKernels()[0].reduce_magnitudes(args, 0, count, expected.data());
    for (std::size_t u = 0; u < found.size(); ++u) {
      ASSERT_EQ(found[u].sum, expected[u].sum) << u;
      ASSERT_EQ(found[u].count, expected[u].count) << u;
      ASSERT_EQ(found[u].max, expected[u].max) << u;
    }
  }
}

}  // namespace
}  // namespace edgeqat::cuda
