// SPDX-License-Identifier: Apache-2.0
// The flat view of each granularity against indices computed from the coordinates.
#include "edgeqat/quant_layout.h"

#include <gtest/gtest.h>

#include <vector>

#include "edgeqat/error.h"

namespace edgeqat {
namespace {

using Shape = std::vector<std::int64_t>;

// Element e's scale by the definition: divide the coordinate along the axis by the group size.
std::int64_t ScaleByCoordinates(const Shape& shape, std::size_t axis, std::int64_t group_size,
                                std::int64_t e, bool per_channel) {
  Shape coordinates(shape.size());
  for (std::size_t d = shape.size(); d-- > 0; e /= shape[d]) coordinates[d] = e % shape[d];
  if (per_channel) return coordinates[axis];
  std::int64_t index = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const bool grouped = d == axis;
    index = index * (grouped ? shape[d] / group_size : shape[d]) +
            (grouped ? coordinates[d] / group_size : coordinates[d]);
  }
  return index;
}

TEST(QuantLayout, MatchesTheCoordinates) {
  for (const Shape& shape :
       {Shape{6}, Shape{4, 6}, Shape{2, 3, 4}, Shape{3, 6, 1, 2}, Shape{1, 2, 1, 6}}) {
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      for (std::int64_t group = 0; group <= shape[axis]; ++group) {
        if (group > 0 && shape[axis] % group != 0) continue;
        const auto k = static_cast<std::int64_t>(axis);
        const QuantLayout layout =
            group == 0 ? QuantLayout::PerChannel(shape, k) : QuantLayout::PerGroup(shape, k, group);
        for (std::int64_t e = 0; e < layout.numel(); ++e) {
          ASSERT_EQ(layout.index(e), ScaleByCoordinates(shape, axis, group, e, group == 0));
          ASSERT_LT(layout.index(e), layout.num_scales());
        }
      }
    }
  }
}

TEST(QuantLayout, RefusesAForeignAxisOrGroup) {
  const Shape shape = {4, 6};
  EXPECT_THROW((void)QuantLayout::PerChannel(shape, 2), Error);
  EXPECT_THROW((void)QuantLayout::PerChannel(shape, -1), Error);
  EXPECT_THROW((void)QuantLayout::PerGroup(shape, 1, 4), Error);
  EXPECT_THROW((void)QuantLayout::PerGroup(shape, 1, 0), Error);
}

}  // namespace
}  // namespace edgeqat
