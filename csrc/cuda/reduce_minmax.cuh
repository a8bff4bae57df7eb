// SPDX-License-Identifier: Apache-2.0
// Merging the minima and maxima of a block's threads.
#pragma once

#include "cuda/launch.cuh"
#include "cuda/observer_plan.h"

namespace edgeqat::cuda {

// Merges the 256 threads' results into thread 0's. 16 threads take 16 each, then one takes the 16:
// two barriers instead of the eight of a halving tree.
__device__ inline MinMax ReduceBlock(const MinMax& mine, MinMax* shared) {
  constexpr int kLanes = 16;
  const int t = static_cast<int>(threadIdx.x);
  shared[t] = mine;
  __syncthreads();
  MinMax result = mine;
  if (t < kLanes) {
    for (int k = kLanes; k < kBlockThreads; k += kLanes) Merge(result, shared[t + k]);
    shared[t] = result;
  }
  __syncthreads();
  if (t == 0) {
    for (int k = 1; k < kLanes; ++k) Merge(result, shared[k]);
  }
  __syncthreads();  // shared is free for the next use
  return result;
}

}  // namespace edgeqat::cuda
