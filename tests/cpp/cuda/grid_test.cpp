// SPDX-License-Identifier: Apache-2.0
// Grid sizes and chunk counts at their edges.
#include "cuda/grid.h"

#include <gtest/gtest.h>

#include <array>

namespace edgeqat::cuda {
namespace {

TEST(GridBlocks, OneThreadPerItemUpToWhatIsResident) {
  EXPECT_EQ(GridBlocks(0, 132), 0);
  EXPECT_EQ(GridBlocks(1, 132), 1);
  EXPECT_EQ(GridBlocks(256, 132), 1);
  EXPECT_EQ(GridBlocks(257, 132), 2);
  EXPECT_EQ(GridBlocks(INT64_MAX, 132), 132 * 8);
  EXPECT_EQ(GridBlocks(INT64_MAX, 0), 8);
}

TEST(ElementBlocks, OneThreadPerChunkUpToWhatIsQueued) {
  EXPECT_EQ(ElementBlocks(0, 132), 0);
  EXPECT_EQ(ElementBlocks(2048, 132), 1);
  EXPECT_EQ(ElementBlocks(2049, 132), 2);
  EXPECT_EQ(ElementBlocks(INT64_MAX, 132), 132 * 32);
}

TEST(CeilDivide, DoesNotOverflow) {
  EXPECT_EQ(CeilDivide(INT64_MAX, 2), INT64_MAX / 2 + 1);
  EXPECT_EQ(CeilDivide(0, 8), 0);
  EXPECT_EQ(CeilDivide(8, 8), 1);
  EXPECT_EQ(CeilDivide(9, 8), 2);
}

TEST(ChunkCount, IsWholeExceptAtTheEnd) {
  EXPECT_EQ(ChunkCount(0, 8), 8);
  EXPECT_EQ(ChunkCount(0, 9), 8);
  EXPECT_EQ(ChunkCount(8, 9), 1);
  EXPECT_EQ(ChunkCount(INT64_C(1) << 40, (INT64_C(1) << 40) + 3), 3);
}

TEST(AreAligned, EveryPointerCounts) {
  alignas(16) std::array<char, 32> bytes{};
  EXPECT_TRUE(AreAligned(16, bytes.data(), bytes.data() + 16));
  EXPECT_FALSE(AreAligned(16, bytes.data(), bytes.data() + 4));
  EXPECT_TRUE(AreAligned(16, static_cast<char*>(nullptr)));
}

}  // namespace
}  // namespace edgeqat::cuda
