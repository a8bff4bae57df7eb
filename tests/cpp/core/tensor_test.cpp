// SPDX-License-Identifier: Apache-2.0
// Sizes that wrap, and views of the wrong type.
#include "edgeqat/tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "edgeqat/error.h"

namespace edgeqat {
namespace {

TEST(Tensor, CountsElementsWithoutWrapping) {
  EXPECT_EQ(NumElements(std::vector<std::int64_t>{}), 1);
  EXPECT_EQ(NumElements(std::vector<std::int64_t>{2, 0, 3}), 0);
  EXPECT_EQ(NumElements(std::vector<std::int64_t>{1LL << 31, 1LL << 31}), 1LL << 62);
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{1LL << 32, 1LL << 31},
                                                 {1LL << 62, 1LL << 62, 0},
                                                 {-1},
                                                 {0, -1}}) {
    EXPECT_THROW(static_cast<void>(NumElements(shape)), Error) << ShapeString(shape);
  }
  EXPECT_EQ(NumBytes(DType::kFloat32, std::vector<std::int64_t>{3, 5}), 60U);
  EXPECT_THROW(static_cast<void>(NumBytes(DType::kInt64, std::vector<std::int64_t>{1LL << 60})),
               Error);
}

TEST(Tensor, NamesEveryType) {
  for (int code = 0; code < 8; ++code) {
    const auto dtype = static_cast<DType>(code);
    EXPECT_EQ(ParseDType(DTypeName(dtype)), dtype);
    EXPECT_GE(SizeOf(dtype), 1U);
  }
  EXPECT_THROW(static_cast<void>(ParseDType("float64")), Error);
  EXPECT_THROW(static_cast<void>(SizeOf(static_cast<DType>(200))), Error);
}

TEST(Tensor, ChecksViews) {
  const std::array<std::int32_t, 3> values = {1, -2, 3};
  Tensor tensor = Tensor::From<std::int32_t>({3}, values);
  EXPECT_EQ(tensor.Span<std::int32_t>()[1], -2);
  EXPECT_THROW(static_cast<void>(tensor.Span<float>()), Error);
  EXPECT_THROW(static_cast<void>(Tensor::From<std::int32_t>({2}, values)), Error);
  tensor.MutableSpan<std::int32_t>()[0] = 9;
  EXPECT_EQ(tensor.Span<std::int32_t>()[0], 9);
  tensor.data.pop_back();
  EXPECT_THROW(static_cast<void>(tensor.Span<std::int32_t>()), Error);
  EXPECT_EQ(Tensor::Zeros(DType::kBool, {0, 4}).data.size(), 0U);
}

}  // namespace
}  // namespace edgeqat
