// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels for channels_last data, emulated: what the scalar reference computes on the
// row-major copy.
#include "cuda/fake_quantize_transposed.h"

#include <gtest/gtest.h>

#include "core/reference/fake_quantize_ref.h"
#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

// Memory position of each element in row-major order, [batch, columns, rows].
std::vector<std::int64_t> MemoryOf(const TransposedShape& s) {
  std::vector<std::int64_t> memory;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t c = 0; c < s.columns; ++c) {
      for (std::int64_t r = 0; r < s.rows; ++r) {
        memory.push_back((b * s.rows + r) * s.columns + c);
      }
    }
  }
  return memory;
}

// Bytes within a column, over two, over eight; one row; one column; more than one stride of a grid.
std::vector<TransposedShape> Shapes() {
  return {{2, 8, 3}, {1, 24, 5}, {3, 4, 6}, {2, 14 * 14, 4}, {2, 7 * 7, 16}, {2, 3, 8},
          {1, 1, 8}, {2, 2, 4},  {1, 6, 4}, {1, 16, 1},      {5, 64, 70}};
}

template <typename T>
class FakeQuantizeTransposedCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  static void ExpectEqualsReference(const TransposedShape& shape, const QuantLayout& layout,
                                    bool masked) {
    ASSERT_TRUE(shape.is_supported());
    const std::vector<std::int64_t> memory = MemoryOf(shape);
    const auto n = static_cast<std::int64_t>(memory.size());
    std::vector<float> scale(static_cast<std::size_t>(layout.num_scales()));
    std::vector<std::int32_t> zero_point(scale.size());
    for (std::size_t c = 0; c < scale.size(); ++c) {
      scale[c] = 0.02f * static_cast<float>(c % 50 + 1);
      zero_point[c] = static_cast<std::int32_t>(c % 7) - 3;
    }
    const Buffer<T> x(As<T>(HardValues(n, 0.02f, 9)));  // row-major
    const Buffer<T> x_memory(n);
    const Buffer<std::uint8_t> mask(n);
    const Buffer<std::uint8_t> mask_memory(n);
    for (std::int64_t e = 0; e < n; ++e) {
      const std::int64_t m = memory[static_cast<std::size_t>(e)];
      mask[e] = static_cast<std::uint8_t>(e % 5 != 2);
      x_memory[m] = x[e];
      mask_memory[m] = mask[e];
    }
    const Buffer<T> expected(n);
    const Buffer<std::uint8_t> expected_bits(CeilDivide(n, 8));
    FakeQuantizeArgs args;
    args.dtype = TypeOf<T>();
    args.layout = layout;
    args.x = x.data();
    args.scale = scale.data();
    args.zero_point = zero_point.data();
    args.qmin = -16;
    args.qmax = 15;
    args.mask = masked ? mask.data() : nullptr;
    args.y = expected.data();
    args.bits = expected_bits.data();
    // rows 49, 2 and 3 bring relu, relu6 and hardswish
    args.activation = static_cast<ActivationKind>(shape.rows % kActivationKinds);
    reference::fake_quantize_ref(args);

    const Buffer<T> y(n);
    const Buffer<std::uint8_t> bits(CeilDivide(n, 8));
    args.x = x_memory.data();
    args.mask = masked ? mask_memory.data() : nullptr;
    args.y = y.data();
    args.bits = bits.data();
    fake_quantize_transposed(args, shape, nullptr);
    for (std::int64_t e = 0; e < n; ++e) {
      ASSERT_TRUE(SameValue(y[memory[static_cast<std::size_t>(e)]], expected[e])) << e;
    }
    for (std::int64_t b = 0; b < CeilDivide(n, 8); ++b) ASSERT_EQ(bits[b], expected_bits[b]) << b;

    const Buffer<T> grad_x(n);
    fake_quantize_backward_transposed({.dtype = TypeOf<T>(),
                                       .numel = n,
                                       .grad = x_memory.data(),
                                       .bits = bits.data(),
                                       .grad_x = grad_x.data()},
                                      shape, nullptr);
    for (std::int64_t e = 0; e < n; ++e) {
      const std::int64_t m = memory[static_cast<std::size_t>(e)];
      const bool passes = ((bits[e / 8] >> (e % 8)) & 1) != 0;
      ASSERT_TRUE(SameValue(grad_x[m], passes ? x[e] : FromFloat<T>(0.0f))) << e;
    }
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(FakeQuantizeTransposedCuda, Types);

TYPED_TEST(FakeQuantizeTransposedCuda, EveryShapeAndGranularity) {
  for (const TransposedShape& shape : Shapes()) {
    SCOPED_TRACE(::testing::Message() << shape.batch << " " << shape.rows << " " << shape.columns);
    const std::vector<std::int64_t> row_major = {shape.batch, shape.columns, shape.rows};
    const std::int64_t n = shape.batch * shape.columns * shape.rows;
    for (const bool masked : {false, true}) {
      this->ExpectEqualsReference(shape, QuantLayout::PerTensor(n), masked);
      this->ExpectEqualsReference(shape, QuantLayout::PerChannel(row_major, 1), masked);
      this->ExpectEqualsReference(shape, QuantLayout::PerChannel(row_major, 0), masked);
      this->ExpectEqualsReference(shape, QuantLayout::PerGroup(row_major, 2, 1), masked);
    }
  }
}

TEST(TransposedShape, RefusesBytesThatWouldSpanTwoBatches) {
  EXPECT_FALSE((TransposedShape{2, 49, 12}).is_supported());
  EXPECT_FALSE((TransposedShape{2, 4, 3}).is_supported());
  EXPECT_TRUE((TransposedShape{2, 4, 2}).is_supported());
  EXPECT_EQ((TransposedShape{1, 14 * 14, 64}).columns_per_region(), 2);
}

}  // namespace
}  // namespace edgeqat::cuda
