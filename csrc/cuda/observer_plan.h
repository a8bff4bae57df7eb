// SPDX-License-Identifier: Apache-2.0
// How observe_minmax_ is cut into blocks, and how minima, maxima and counts are put together.
//
// Two passes. The first leaves one MinMax per (scale, split); the second merges the splits of each
// scale and moves the state. Minimum, maximum and integer sums do not depend on the order, so the
// result does not depend on the number of blocks either.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/grid.h"
#include "cuda/host_device.h"
#include "cuda/quantize_rule.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::cuda {

// The finite values seen so far: min = +inf and max = -inf while there are none.
struct MinMax {
  float min;
  float max;
  std::int64_t skipped;  // values that were not finite
};

EDGEQAT_HOST_DEVICE inline MinMax EmptyMinMax() { return {INFINITY, -INFINITY, 0}; }

// -0 becomes +0, so that {-0, +0} and {+0, -0} have the same minimum.
EDGEQAT_HOST_DEVICE inline void Take(MinMax& state, float value) {
  if (!(fabsf(value) < INFINITY)) {
    ++state.skipped;
    return;
  }
  const float v = Add(value, 0.0f);
  state.min = v < state.min ? v : state.min;
  state.max = v > state.max ? v : state.max;
}

EDGEQAT_HOST_DEVICE inline void Merge(MinMax& state, const MinMax& other) {
  state.min = other.min < state.min ? other.min : state.min;
  state.max = other.max > state.max ? other.max : state.max;
  state.skipped += other.skipped;
}

// Moves one channel's running state by a batch; see UpdateMinmax in edgeqat/observer.h.
EDGEQAT_HOST_DEVICE inline void UpdateState(const MinMax& batch, float averaging, float& min,
                                            float& max) {
  if (batch.min > batch.max) return;  // nothing finite: the state stays
  const bool first = min == INFINITY && max == -INFINITY;
  if (averaging < 0.0f || first) {
    min = batch.min < min ? batch.min : min;
    max = batch.max > max ? batch.max : max;
    return;
  }
  min = Add(min, Multiply(averaging, Subtract(batch.min, min)));
  max = Add(max, Multiply(averaging, Subtract(batch.max, max)));
}

// Columns of a block in the column pass: a warp reads 32 neighbours, 8 warps take 8 rows.
inline constexpr int kTileColumns = 32;
inline constexpr int kTileRows = kBlockThreads / kTileColumns;

struct ObservePlan {
  // rows: scales own runs of consecutive elements, split over blocks. columns: neighbouring
  // elements have different scales (channels innermost).
  bool by_columns = false;
  std::int64_t scales = 1;
  std::int64_t splits = 0;  // pieces of each scale's elements; 0 without elements
  std::int64_t units = 0;   // blocks' worth of work in the first pass
  int blocks = 0;           // of the first pass, which walks the units

  [[nodiscard]] std::int64_t workspace_bytes() const {
    return scales * splits * static_cast<std::int64_t>(sizeof(MinMax));
  }
};

// Expects layout.width == 1, or outer == channels == 1: what PerTensor and PerChannel make.
inline ObservePlan PlanObserve(const QuantLayout& layout, int multiprocessors) {
  ObservePlan plan;
  plan.scales = layout.num_scales();
  if (layout.numel() == 0) return plan;
  plan.by_columns = layout.width > 1;
  const std::int64_t target = GridBlocks(INT64_MAX / 2, multiprocessors);
  const std::int64_t tiles =
      plan.by_columns ? CeilDivide(layout.width, kTileColumns) : layout.channels;
  const std::int64_t most =
      plan.by_columns ? CeilDivide(layout.rows, kTileRows)
                      : CeilDivide(layout.outer * CeilDivide(layout.rows, kChunk), kBlockThreads);
  plan.splits = std::clamp<std::int64_t>(target / tiles, 1, most);
  plan.units = tiles * plan.splits;
  plan.blocks = static_cast<int>(std::min(plan.units, target));
  return plan;
}

}  // namespace edgeqat::cuda
