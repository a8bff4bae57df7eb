// SPDX-License-Identifier: Apache-2.0
// How the sums over the elements of each scale are cut into blocks: the same cut on every device,
// because float sums depend on their order.
//
// One pass where no scale is split: whoever summed it writes its gradient. Else two: the first
// leaves one pair of doubles per (scale, split); the second adds the splits of each scale in their
// order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/grid.h"
#include "cuda/host_device.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::cuda {

// What is summed: the terms of the step and those of the offset.
struct SumPair {
  double step;
  double offset;
};

// Blocks' worth of work that a tensor is cut into: eight for each of 132 multiprocessors, what the
// largest current GPU (H100, H200) holds at a time, and a whole number of turns on smaller ones.
inline constexpr std::int64_t kSumUnits = 1056;

// Columns of a block where neighbouring elements have different scales: a warp reads 32 neighbours,
// 8 warps take 8 rows.
inline constexpr int kSumColumns = 32;
inline constexpr int kSumRows = kBlockThreads / kSumColumns;

struct SumPlan {
  bool by_columns = false;
  std::int64_t scales = 1;
  std::int64_t tiles =
      1;  // what a block sums at a time: 32 columns, or kBlockThreads / team scales
  std::int64_t splits = 0;  // pieces of each scale's elements; 0 without elements
  // Threads that share the rows of a scale, a power of two. A whole block for each group of 32
  // elements, which is four chunks, would leave 252 of its 256 threads without work.
  int team = kBlockThreads;
  // The layout [outer, channels, rows, width] with columns in disguise (rows == width == 1) as
  // such.
  QuantLayout layout;

  [[nodiscard]] EDGEQAT_HOST_DEVICE std::int64_t units() const { return tiles * splits; }
  [[nodiscard]] EDGEQAT_HOST_DEVICE bool one_pass() const { return splits == 1; }
  [[nodiscard]] std::int64_t workspace_bytes() const {
    return one_pass() ? 0 : scales * splits * static_cast<std::int64_t>(sizeof(SumPair));
  }
};

inline SumPlan PlanSums(const QuantLayout& given) {
  SumPlan plan;
  plan.layout = given;
  if (given.rows == 1 && given.width == 1 && given.channels > 1) {
    plan.layout = {.outer = 1, .channels = 1, .rows = given.outer, .width = given.channels};
  }
  const QuantLayout& layout = plan.layout;
  plan.scales = layout.num_scales();
  plan.by_columns = layout.width > 1;
  if (layout.numel() == 0) return plan;
  if (plan.by_columns) {
    plan.tiles = layout.channels * CeilDivide(layout.width, kSumColumns);
    plan.splits =
        std::clamp<std::int64_t>(kSumUnits / plan.tiles, 1, CeilDivide(layout.rows, kSumRows));
    return plan;
  }
  const std::int64_t chunks = layout.outer * CeilDivide(layout.rows, kChunk);
  while (plan.team > 1 && plan.team / 2 >= chunks) plan.team /= 2;
  plan.tiles = CeilDivide(layout.channels, kBlockThreads / plan.team);
  plan.splits = std::clamp<std::int64_t>(kSumUnits / plan.tiles, 1, CeilDivide(chunks, plan.team));
  return plan;
}

}  // namespace edgeqat::cuda
