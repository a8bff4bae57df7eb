// SPDX-License-Identifier: Apache-2.0
// Brings the rows of the last axis into the flat view of a kernel that works row by row.
#pragma once

#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

struct Rows {
  Elementwise data;
  std::int64_t rows = 0;
  std::int64_t width = 1;
};

// Where the last axis is the innermost in memory, rows are taken in the order in which they lie; a
// tensor without axes is one row of one element.
inline Rows PrepareRows(const Tensor& x) {
  const MemoryOrder order = OrderOf(x);
  const std::int64_t last = x.dim() - 1;
  const std::int64_t width = last < 0 ? 1 : x.size(last);
  const bool innermost = order.dense && (width == 1 || order.dims.back() == last);
  Rows result = {Prepare(x, x.scalar_type(), {}, /*row_major=*/!innermost), 0, width};
  if (width > 0) result.rows = x.numel() / width;
  return result;
}

}  // namespace edgeqat::torch_ops
