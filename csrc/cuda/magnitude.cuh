// SPDX-License-Identifier: Apache-2.0
// What the kernels behind the magnitude reduction share.
#pragma once

#include "core/magnitude.h"
#include "cuda/launch.cuh"

namespace edgeqat::cuda {

// The sum of a scale's pieces, in order.
__device__ inline MagnitudeSums TotalOf(const MagnitudeSums* units, std::int64_t scale,
                                        std::int64_t pieces) {
  MagnitudeSums total;
  for (std::int64_t k = 0; k < pieces; ++k) {
    const MagnitudeSums& unit = units[scale * pieces + k];
    total.sum += unit.sum;
    total.count += unit.count;
    total.max = unit.max > total.max ? unit.max : total.max;
  }
  return total;
}

}  // namespace edgeqat::cuda
