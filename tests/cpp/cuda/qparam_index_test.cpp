// SPDX-License-Identifier: Apache-2.0
// QparamIndex against QuantLayout::index, and what IsUniform promises.
#include "cuda/qparam_index.h"

#include <gtest/gtest.h>

#include <vector>

namespace edgeqat::cuda {
namespace {

std::vector<QuantLayout> Layouts() {
  const std::vector<std::int64_t> shape = {3, 8, 5, 2};
  const std::vector<std::int64_t> rows = {6, 32};
  const std::vector<std::int64_t> whole = {4, 3, 16};
  return {QuantLayout::PerTensor(77),
          QuantLayout::PerChannel(shape, 0),
          QuantLayout::PerChannel(shape, 1),
          QuantLayout::PerChannel(shape, 3),
          QuantLayout::PerGroup(shape, 1, 4),
          QuantLayout::PerGroup(shape, 3, 2),
          QuantLayout::PerGroup(rows, 1, 16),
          QuantLayout::PerGroup(rows, 1, 1),
          QuantLayout::PerGroup(rows, 0, 3),
          QuantLayout::PerChannel(rows, 0),
          QuantLayout::PerChannel(whole, 1),
          QuantLayout::PerChannel(whole, 2),
          {.outer = 2, .channels = 3, .rows = 4, .width = 5}};
}

TEST(QparamIndex, EqualsTheLayout) {
  for (const QuantLayout& layout : Layouts()) {
    const QparamIndex index(layout);
    for (std::int64_t e = 0; e < layout.numel(); ++e) ASSERT_EQ(index(e), layout.index(e));
  }
}

TEST(QparamIndex, EqualsTheLayoutBeyond32Bits) {
  const QuantLayout layout{.outer = 5, .channels = 70001, .rows = 100003, .width = 1};
  const QparamIndex index(layout);
  for (std::int64_t e = layout.numel() - 1; e > 0; e -= 999999937) {
    ASSERT_EQ(index(e), layout.index(e)) << e;
  }
}

TEST(QparamIndex, UniformChunksHaveOneScale) {
  int uniform = 0;
  for (const QuantLayout& layout : Layouts()) {
    if (!QparamIndex(layout).IsUniform(8)) continue;
    ++uniform;
    for (std::int64_t e = 0; e < layout.numel(); ++e) {
      ASSERT_EQ(layout.index(e), layout.index(e / 8 * 8));
    }
  }
  EXPECT_GE(uniform, 4);
}

TEST(QparamIndex, ChannelRowsOfOddLengthAreNotUniform) {
  const std::vector<std::int64_t> shape = {4, 49};
  EXPECT_FALSE(QparamIndex(QuantLayout::PerChannel(shape, 0)).IsUniform(8));
}

TEST(QparamIndex, EmptyTensorsDoNotDivideByZero) {
  const std::vector<std::int64_t> shape = {0, 4};
  EXPECT_EQ(QparamIndex(QuantLayout::PerChannel(shape, 0))(0), 0);
  EXPECT_EQ(QparamIndex(QuantLayout::PerTensor(0))(0), 0);
}

}  // namespace
}  // namespace edgeqat::cuda
