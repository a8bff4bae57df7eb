// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of dorefa_fake_quantize and its backward, emulated, against those of the CPU bit
// for bit.
#include "cuda/dorefa_fake_quantize.h"

#include <gtest/gtest.h>

#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

template <typename T>
class DorefaCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  static void ExpectEqualsCpu(const QuantLayout& layout, std::size_t offset, bool masked) {
    const std::int64_t n = layout.numel();
    const Buffer<T> x(As<T>(HardValues(n, 0.01f, static_cast<unsigned>(n))), offset);
    const Buffer<T> grad(As<T>(HardValues(n, 0.1f, 5)), offset);
    const Buffer<T> found(n, offset), expected(n);
    const Buffer<std::uint8_t> mask(n, offset);
    for (std::int64_t i = 0; i < n; ++i) mask[i] = i % 5 != 0;
    const Buffer<char> workspace(DorefaWorkspace(layout));
    DorefaFakeQuantizeArgs args;
    args.dtype = TypeOf<T>();
    args.layout = layout;
    args.x = x.data();
    args.qmin = masked ? -8 : -127;
    args.qmax = masked ? 7 : 127;
    args.mask = masked ? mask.data() : nullptr;
    args.y = found.data();
    cuda::dorefa_fake_quantize(args, workspace.data(), nullptr);
    args.y = expected.data();
    edgeqat::dorefa_fake_quantize(args);
    for (std::int64_t i = 0; i < n; ++i) {
      ASSERT_TRUE(SameValue(found[i], expected[i])) << i << ": " << ToFloat(x[i]);
    }
    DorefaFakeQuantizeBackwardArgs back;
    back.dtype = args.dtype;
    back.layout = layout;
    back.grad = grad.data();
    back.x = x.data();
    back.mask = args.mask;
    back.grad_x = found.data();
    cuda::dorefa_fake_quantize_backward(back, workspace.data(), nullptr);
    back.grad_x = expected.data();
    edgeqat::dorefa_fake_quantize_backward(back);
    for (std::int64_t i = 0; i < n; ++i) {
      ASSERT_TRUE(SameValue(found[i], expected[i])) << i << ": " << ToFloat(x[i]);
    }
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(DorefaCuda, Types);

TYPED_TEST(DorefaCuda, EveryGranularity) {
  for (const LayoutCase& c : LayoutCases()) {
    SCOPED_TRACE(c.name);
    for (const bool masked : {false, true}) this->ExpectEqualsCpu(c.layout, 0, masked);
  }
}

TYPED_TEST(DorefaCuda, EverySizeAlignedOrNot) {
  for (const std::int64_t n : Sizes()) {
    SCOPED_TRACE(n);
    for (const std::size_t offset : {0, 1}) {
      this->ExpectEqualsCpu(QuantLayout::PerTensor(n), offset, n % 2 == 0);
    }
  }
}

}  // namespace
}  // namespace edgeqat::cuda
