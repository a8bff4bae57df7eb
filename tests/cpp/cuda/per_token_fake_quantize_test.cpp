// SPDX-License-Identifier: Apache-2.0
// The CUDA kernel of per_token_fake_quantize, emulated, against the scalar reference.
#include "cuda/per_token_fake_quantize.h"

#include <gtest/gtest.h>

#include "core/reference/per_token_fake_quantize_ref.h"
#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

template <typename T>
class PerTokenCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  static void ExpectEqualsReference(std::int64_t rows, std::int64_t width, std::size_t offset) {
    const std::int64_t n = rows * width;
    const Buffer<T> x(As<T>(HardValues(n, 0.7f, static_cast<unsigned>(n))), offset);
    const Buffer<T> y(n, offset), expected(n);
    for (const bool symmetric : {true, false}) {
      for (const bool reversed : {false, true}) {
        emulation.reversed = reversed;
        PerTokenFakeQuantizeArgs args;
        args.dtype = TypeOf<T>();
        args.rows = rows;
        args.width = width;
        args.x = x.data();
        args.qmin = symmetric ? -127 : 0;
        args.qmax = symmetric ? 127 : 15;
        args.symmetric = symmetric;
        args.y = y.data();
        cuda::per_token_fake_quantize(args, nullptr);
        args.y = expected.data();
        reference::per_token_fake_quantize_ref(args);
        for (std::int64_t i = 0; i < n; ++i) {
          ASSERT_TRUE(SameValue(y[i], expected[i])) << i << " of " << rows << " x " << width;
        }
      }
    }
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(PerTokenCuda, Types);

TYPED_TEST(PerTokenCuda, NarrowRowsShareABlock) {
  for (const std::int64_t width : {1, 7, 8, 9, 64, 129, 1000}) {
    for (const std::int64_t rows : {1, 3, 16, 17, 300}) {
      this->ExpectEqualsReference(rows, width, rows % 2 == 0 ? 0 : 1);
    }
  }
}

TYPED_TEST(PerTokenCuda, WideRowsHaveABlockEach) {
  for (const std::int64_t width : {1024, 1025, 2049, 4096}) {
    for (const std::int64_t rows : {1, 2, 19}) this->ExpectEqualsReference(rows, width, 0);
  }
}

TYPED_TEST(PerTokenCuda, WithoutElementsNothingIsLaunched) {
  PerTokenFakeQuantizeArgs args;
  args.rows = 0;
  args.width = 8;
  cuda::per_token_fake_quantize(args, nullptr);
  args.rows = 8;
  args.width = 0;
  cuda::per_token_fake_quantize(args, nullptr);
  EXPECT_EQ(emulation.launches, 0);
}

}  // namespace
}  // namespace edgeqat::cuda
