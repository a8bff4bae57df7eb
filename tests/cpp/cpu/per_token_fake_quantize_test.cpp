// SPDX-License-Identifier: Apache-2.0
// Every variant of per_token_fake_quantize against the scalar reference, and the public function.
#include "edgeqat/per_token_fake_quantize.h"

#include "core/reference/per_token_fake_quantize_ref.h"
#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

using testing::GuardedBuffer;

class PerTokenFakeQuantize : public ::testing::TestWithParam<const cpu::KernelTable*> {};

TEST_P(PerTokenFakeQuantize, EqualsReferenceAtEveryWidth) {
  std::mt19937 random(5);
  for (const std::int64_t width : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const bool symmetric : {true, false}) {
        const testing::CodeRange range = testing::kRanges[random() % std::size(testing::kRanges)];
        const std::int64_t rows = 1 + static_cast<std::int64_t>(random() % 4);
        const std::int64_t n = rows * width;
        const auto bytes = static_cast<std::size_t>(n * SizeOf(type));
        GuardedBuffer x(bytes), y(bytes), expected(bytes);
        const QuantLayout layout = {1, rows, width, 1};
        std::vector<float> scales(static_cast<std::size_t>(rows));
        for (float& scale : scales) scale = testing::RandomScale(random);
        testing::FillHard(random, layout, scales, type, x.data());
        PerTokenFakeQuantizeArgs args;
        args.dtype = type;
        args.rows = rows;
        args.width = width;
        args.x = x.data();
        args.qmin = range.qmin;
        args.qmax = range.qmax;
        args.symmetric = symmetric;
        args.y = expected.data();
        reference::per_token_fake_quantize_ref(args);
        args.y = y.data();
        GetParam()->per_token_fake_quantize(args, 0, rows);
        testing::ExpectSameFloats(y.data(), expected.data(), type, n);
        args.y = x.data();  // in place
        GetParam()->per_token_fake_quantize(args, 0, rows);
        testing::ExpectSameFloats(x.data(), expected.data(), type, n);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, PerTokenFakeQuantize, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

TEST(PerTokenFakeQuantizePublic, PiecesInAnyOrderCoverEveryRow) {
  std::mt19937 random(6);
  for (const std::int64_t width : {1, 7, 513, 40000}) {
    const std::int64_t rows = 100000 / width + 1;
    std::vector<float> x(static_cast<std::size_t>(rows * width)), y(x.size()), expected(x.size());
    const std::vector<float> scale = {0.3F};
    testing::FillHard(random, QuantLayout::PerTensor(rows * width), scale, FloatType::kFloat32,
                      x.data());
    PerTokenFakeQuantizeArgs args;
    args.rows = rows;
    args.width = width;
    args.x = x.data();
    args.y = expected.data();
    reference::per_token_fake_quantize_ref(args);
    args.y = y.data();
    const auto reversed = [](std::int64_t pieces, const RangeBody& body) {
      for (std::int64_t i = pieces; i-- > 0;) body(i, i + 1);
    };
    per_token_fake_quantize(args, reversed);
    testing::ExpectSameFloats(y.data(), expected.data(), FloatType::kFloat32, rows * width);
  }
}

TEST(PerTokenFakeQuantizePublic, RowsWithoutARangeHaveScaleOne) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float x[] = {0.0F, -0.0F, kInfinity, -kInfinity, std::nanf(""), 1e-40F};
  float y[6];
  PerTokenFakeQuantizeArgs args;
  args.rows = 3;
  args.width = 2;
  args.x = x;
  args.qmin = -127;
  args.y = y;
  per_token_fake_quantize(args);
  EXPECT_EQ(y[0], 0.0F);
  EXPECT_FALSE(std::signbit(y[1]));
  EXPECT_EQ(y[2], 127.0F);
  EXPECT_EQ(y[3], -127.0F);
  EXPECT_TRUE(std::isnan(y[4]));
  EXPECT_EQ(y[5], 0.0F);
}

TEST(PerTokenFakeQuantizePublic, TheLargestValueOfEveryRowIsItsLargestCode) {
  const float x[] = {1.0F, -0.5F, 8.0F, -100.0F, 30.0F, 0.0F};
  float y[6];
  PerTokenFakeQuantizeArgs args;
  args.rows = 2;
  args.width = 3;
  args.x = x;
  args.qmin = -7;
  args.qmax = 7;
  args.y = y;
  per_token_fake_quantize(args);
  EXPECT_EQ(y[2], 7.0F * (8.0F / 7.0F));
  EXPECT_EQ(y[3], -7.0F * (100.0F / 7.0F));
  EXPECT_EQ(y[1], 0.0F);  // 0.5 of a step of 8 / 7
}

}  // namespace
}  // namespace edgeqat
