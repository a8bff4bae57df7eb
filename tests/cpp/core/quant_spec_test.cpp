// SPDX-License-Identifier: Apache-2.0
// Number formats: ranges, shapes of scales, what is refused; targets as data.
#include "edgeqat/quant_spec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/temp_dir.h"
#include "edgeqat/graph.h"
#include "edgeqat/target.h"

namespace edgeqat {
namespace {

using Shape = std::vector<std::int64_t>;

TEST(QuantSpec, RangeOfCodes) {
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    int power = 1;
    for (int i = 1; i < bits; ++i) power *= 2;
    EXPECT_EQ((QuantSpec{.bits = bits}.qmin()), -power);
    EXPECT_EQ((QuantSpec{.bits = bits}.qmax()), power - 1);
    EXPECT_EQ((QuantSpec{.bits = bits, .narrow_range = true}.qmin()), 1 - power);
  }
}

TEST(QuantSpec, ShapeOfScales) {
  QuantSpec spec{.bits = 4};
  EXPECT_EQ(spec.ScaleShape(Shape{8, 64}), (Shape{1}));
  EXPECT_EQ(spec.ScaleShape(Shape{}), (Shape{1}));
  spec.granularity = Granularity::kChannel;
  spec.axis = 0;
  EXPECT_EQ(spec.ScaleShape(Shape{8, 64}), (Shape{8}));
  spec.axis = -1;
  EXPECT_EQ(spec.ScaleShape(Shape{8, 64}), (Shape{64}));
  spec.axis = 2;
  EXPECT_ERROR(static_cast<void>(spec.ScaleShape(Shape{8, 64})), ErrorCode::kOutOfRange,
               "axis must be in [-2, 2) for a tensor of 2 dimensions, found 2");
  spec = {.bits = 4, .granularity = Granularity::kGroup, .axis = 1, .group_size = 32};
  EXPECT_EQ(spec.ScaleShape(Shape{8, 64}), (Shape{8, 2}));
  EXPECT_ERROR(static_cast<void>(spec.ScaleShape(Shape{8, 65})), ErrorCode::kInvalidArgument,
               "group_size 32 does not divide axis 1 of size 65");
}

TEST(QuantSpec, Refuses) {
  const auto refuses = [](const QuantSpec& spec, const char* message) {
    EXPECT_ERROR(ValidateQuantSpec(spec), ErrorCode::kInvalidArgument, message);
  };
  constexpr auto kChannel = Granularity::kChannel;
  constexpr auto kGroup = Granularity::kGroup;
  refuses({.bits = 1}, "bits must be an integer in 2..8, found 1");
  refuses({.bits = 9}, "found 9");
  refuses({.granularity = static_cast<Granularity>(7)},
          "granularity must be 'tensor', 'channel' or 'group', found ''");
  refuses({.granularity = kChannel}, "granularity 'channel' and axis none contradict");
  refuses({.axis = 0}, "granularity 'tensor' and axis 0 contradict");
  refuses({.granularity = kGroup, .axis = 1}, "group_size none contradict");
  refuses({.granularity = kChannel, .axis = 1, .group_size = 4}, "group_size 4 contradict");
  refuses({.granularity = kGroup, .axis = 1, .group_size = 0}, "at least 1, found 0");
  EXPECT_NO_THROW(ValidateQuantSpec({.granularity = kGroup, .axis = -1, .group_size = 4}));
}

TEST(EnumNames, ThereAndBack) {
  EXPECT_EQ(NameOf(Granularity::kChannel), "channel");
  EXPECT_EQ(FromName<Granularity>("group"), Granularity::kGroup);
  EXPECT_EQ(FromName<Granularity>("Group"), std::nullopt);
}

TEST(Target, KnownOnes) {
  EXPECT_TRUE(std::ranges::is_sorted(Targets(), {}, &Target::name));
  EXPECT_EQ(FindTarget("onnxruntime").weight_bits.size(), 7U);
  EXPECT_FALSE(FindTarget("npu_int8").Supports("gelu"));
  EXPECT_TRUE(FindTarget("npu_int8").Supports("conv"));
  EXPECT_ERROR(static_cast<void>(FindTarget("onnx")), ErrorCode::kInvalidArgument,
               "unknown target 'onnx'; known targets: npu_int8, onnxruntime");
  const std::vector<std::string> ops = KnownOps();
  for (const Target& target : Targets()) {
    for (const auto& names : {target.float_operators, target.shared_scale_operators}) {
      for (const std::string& op : names)
        EXPECT_NE(std::ranges::find(ops, op), ops.end()) << target.name << ": " << op;
    }
  }
}

}  // namespace
}  // namespace edgeqat
