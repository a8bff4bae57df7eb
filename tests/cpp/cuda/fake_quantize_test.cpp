// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of fake_quantize and its backward, emulated, against the scalar reference.
#include "cuda/fake_quantize.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/reference/fake_quantize_ref.h"
#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

template <typename T>
class FakeQuantizeCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  static void ExpectEqualsReference(const QuantLayout& layout, bool masked, bool train,
                                    std::size_t offset,
                                    ActivationKind activation = ActivationKind::kNone) {
    const std::int64_t n = layout.numel();
    const std::int64_t bytes = CeilDivide(n, 8);
    std::vector<float> scale(static_cast<std::size_t>(layout.num_scales()));
    std::vector<std::int32_t> zero_point(scale.size());
    for (std::size_t c = 0; c < scale.size(); ++c) {
      scale[c] = 0.013f * static_cast<float>(c + 1);
      zero_point[c] = static_cast<std::int32_t>(c % 9) - 4;
    }
    const Buffer<T> x(As<T>(HardValues(n, 0.013f, 7)), offset);
    Buffer<std::uint8_t> mask(n, offset);
    for (std::int64_t i = 0; i < n; ++i) mask[i] = static_cast<std::uint8_t>(i % 3 != 1);
    const Buffer<T> y(n, offset);
    const Buffer<T> expected_y(n);
    const Buffer<std::uint8_t> bits(bytes);
    const Buffer<std::uint8_t> expected_bits(bytes);

    FakeQuantizeArgs args;
    args.dtype = TypeOf<T>();
    args.layout = layout;
    args.x = x.data();
    args.scale = scale.data();
    args.zero_point = zero_point.data();
    args.qmin = -128;
    args.qmax = 127;
    args.mask = masked ? mask.data() : nullptr;
    args.y = y.data();
    args.bits = train ? bits.data() : nullptr;
    args.activation = activation;
    cuda::fake_quantize(args, nullptr);
    args.y = expected_y.data();
    args.bits = train ? expected_bits.data() : nullptr;
    reference::fake_quantize_ref(args);
    for (std::int64_t i = 0; i < n; ++i) {
      ASSERT_TRUE(SameValue(y[i], expected_y[i]))
          << i << ": x " << ToFloat(x[i]) << " gave " << ToFloat(y[i]) << ", expected "
          << ToFloat(expected_y[i]);
    }
    if (!train) return;
    ASSERT_TRUE(std::equal(bits.data(), bits.data() + bytes, expected_bits.data()));
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(FakeQuantizeCuda, Types);

TYPED_TEST(FakeQuantizeCuda, EveryGranularity) {
  for (const LayoutCase& c : LayoutCases()) {
    SCOPED_TRACE(c.name);
    for (const bool masked : {false, true}) {
      for (const bool train : {false, true})
        this->ExpectEqualsReference(c.layout, masked, train, 0);
    }
  }
}

TYPED_TEST(FakeQuantizeCuda, EverySizeAlignedOrNot) {
  for (const std::int64_t n : Sizes()) {
    SCOPED_TRACE(n);
    for (const std::size_t offset : {0, 1, 3}) {
      this->ExpectEqualsReference(QuantLayout::PerTensor(n), true, true, offset);
    }
  }
}

TYPED_TEST(FakeQuantizeCuda, EveryActivation) {
  for (const LayoutCase& c : LayoutCases()) {
    SCOPED_TRACE(c.name);
    for (int kind = 0; kind < kActivationKinds; ++kind) {
      this->ExpectEqualsReference(c.layout, false, true, 0, static_cast<ActivationKind>(kind));
    }
  }
}

TYPED_TEST(FakeQuantizeCuda, HardswishBackwardEqualsReference) {
  for (const std::int64_t n : {0, 1, 7, 8, 2049, 16391}) {
    for (const std::size_t offset : {0, 1}) {
      const Buffer<TypeParam> grad(As<TypeParam>(HardValues(n, 0.5f, 3)), offset);
      const Buffer<TypeParam> x(As<TypeParam>(HardValues(n, 0.02f, 5)), offset);
      const Buffer<TypeParam> grad_x(n, offset);
      const Buffer<TypeParam> expected(n);
      const Buffer<std::uint8_t> bits(CeilDivide(n, 8));
      for (std::int64_t i = 0; i < CeilDivide(n, 8); ++i) {
        bits[i] = static_cast<std::uint8_t>(i * 37 + 11);
      }
      FakeQuantizeBackwardArgs args = {
          TypeOf<TypeParam>(),       n, grad.data(), bits.data(), grad_x.data(), x.data(),
          ActivationKind::kHardswish};
      cuda::fake_quantize_backward(args, nullptr);
      args.grad_x = expected.data();
      reference::fake_quantize_backward_ref(args);
      for (std::int64_t i = 0; i < n; ++i) ASSERT_TRUE(SameValue(grad_x[i], expected[i])) << i;
    }
  }
}

TYPED_TEST(FakeQuantizeCuda, AnyNumberOfMultiprocessors) {
  for (const int multiprocessors : {1, 3, 132}) {
    emulation.multiprocessors = multiprocessors;
    this->ExpectEqualsReference(QuantLayout::PerTensor(50001), false, true, 0);
  }
}

TYPED_TEST(FakeQuantizeCuda, EmptyLaunchesNothing) {
  this->ExpectEqualsReference(QuantLayout::PerTensor(0), false, true, 0);
  EXPECT_EQ(emulation.launches, 0);
}

TYPED_TEST(FakeQuantizeCuda, BackwardPassesTheGradientWhereTheBitIsSet) {
  for (const std::int64_t n : Sizes()) {
    for (const std::size_t offset : {0, 1}) {
      const Buffer<TypeParam> grad(As<TypeParam>(HardValues(n, 0.5f, 3)), offset);
      const Buffer<TypeParam> grad_x(n, offset);
      const Buffer<std::uint8_t> bits(CeilDivide(n, 8));
      for (std::int64_t i = 0; i < CeilDivide(n, 8); ++i) {
        bits[i] = static_cast<std::uint8_t>(i * 37 + 11);
      }
      FakeQuantizeBackwardArgs args;
      args.dtype = TypeOf<TypeParam>();
      args.numel = n;
      args.grad = grad.data();
      args.bits = bits.data();
      args.grad_x = grad_x.data();
      cuda::fake_quantize_backward(args, nullptr);
      for (std::int64_t i = 0; i < n; ++i) {
        const bool passes = ((bits[i / 8] >> (i % 8)) & 1) != 0;
        const TypeParam expected = passes ? grad[i] : FromFloat<TypeParam>(0.0f);
        ASSERT_EQ(std::memcmp(&grad_x[i], &expected, sizeof(expected)), 0) << n << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace edgeqat::cuda
