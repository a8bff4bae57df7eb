// SPDX-License-Identifier: Apache-2.0
// observe_minmax_: a two-pass reduction and the moving average, without waiting for the device.
#include "cuda/fast_divisor.h"
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/observer.h"
#include "cuda/reduce_minmax.cuh"

namespace edgeqat::cuda {
namespace {

// First pass where a scale owns runs of `rows` consecutive elements. Unit u is split u % splits of
// scale u / splits.
template <typename T>
__global__ void RowsKernel(ObserveMinmaxUpdateArgs p, ObservePlan plan, FastDivisor chunks_per_row,
                           bool aligned) {
  __shared__ MinMax shared[kBlockThreads];
  const auto* x = static_cast<const T*>(p.x);
  auto* partial = static_cast<MinMax*>(p.workspace);
  const std::int64_t chunks = p.layout.outer * chunks_per_row.divisor();
  for (std::int64_t unit = blockIdx.x; unit < plan.units; unit += gridDim.x) {
    const std::int64_t channel = unit / plan.splits;
    MinMax mine = EmptyMinMax();
    for (std::int64_t chunk = (unit - channel * plan.splits) * kBlockThreads + threadIdx.x;
         chunk < chunks; chunk += plan.splits * kBlockThreads) {
      const std::int64_t row = chunks_per_row.Divide(chunk);
      const std::int64_t offset = (chunk - row * chunks_per_row.divisor()) * kChunk;
      const std::int64_t first = (row * p.layout.channels + channel) * p.layout.rows + offset;
      const int count = ChunkCount(offset, p.layout.rows);
      const bool whole = aligned && count == kChunk;
      const auto in = LoadPack(x, first, count, whole);
      Pack<std::uint8_t> keep{};
      if (p.mask != nullptr) keep = LoadPack(p.mask, first, count, whole);
      for (int k = 0; k < kChunk; ++k) {
        const bool kept = p.mask == nullptr || keep.values[k] != 0;
        if (k < count && kept) Take(mine, Activate(p.activation, ToFloat(in.values[k])));
      }
    }
    const MinMax total = ReduceBlock(mine, shared);
    if (threadIdx.x == 0) partial[unit] = total;
  }
}

// First pass where the scale changes from element to element: x is [rows, width]. Unit u is split
// u % splits of the tile of 32 columns u / splits.
template <typename T>
__global__ void ColumnsKernel(ObserveMinmaxUpdateArgs p, ObservePlan plan) {
  __shared__ MinMax shared[kBlockThreads];
  const auto* x = static_cast<const T*>(p.x);
  auto* partial = static_cast<MinMax*>(p.workspace);
  const int lane = static_cast<int>(threadIdx.x) / kTileColumns;
  for (std::int64_t unit = blockIdx.x; unit < plan.units; unit += gridDim.x) {
    const std::int64_t tile = unit / plan.splits;
    const std::int64_t split = unit - tile * plan.splits;
    const std::int64_t column = tile * kTileColumns + threadIdx.x % kTileColumns;
    MinMax mine = EmptyMinMax();
    if (column < p.layout.width) {
      for (std::int64_t row = split * kTileRows + lane; row < p.layout.rows;
           row += plan.splits * kTileRows) {
        const std::int64_t e = row * p.layout.width + column;
        if (p.mask != nullptr && p.mask[e] == 0) continue;
        Take(mine, Activate(p.activation, ToFloat(x[e])));
      }
    }
    shared[threadIdx.x] = mine;
    __syncthreads();
    if (lane == 0 && column < p.layout.width) {
      for (int k = 1; k < kTileRows; ++k) Merge(mine, shared[k * kTileColumns + threadIdx.x]);
      partial[column * plan.splits + split] = mine;
    }
    __syncthreads();
  }
}

__device__ void Finish(const ObserveMinmaxUpdateArgs& p, std::int64_t scale, const MinMax& batch) {
  UpdateState(batch, p.averaging, p.min_val[scale], p.max_val[scale]);
  if (scale == 0) p.count[0] += 1;
  // an integer sum: the order of the additions does not change it
  if (batch.skipped != 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(p.count + 1),
              static_cast<unsigned long long>(batch.skipped));
  }
}

// Second pass, one block per scale: for few scales with many splits.
__global__ void FinishBlocksKernel(ObserveMinmaxUpdateArgs p, std::int64_t scales,
                                   std::int64_t splits) {
  __shared__ MinMax shared[kBlockThreads];
  const auto* partial = static_cast<const MinMax*>(p.workspace);
  for (std::int64_t scale = blockIdx.x; scale < scales; scale += gridDim.x) {
    MinMax mine = EmptyMinMax();
    for (std::int64_t k = threadIdx.x; k < splits; k += kBlockThreads) {
      Merge(mine, partial[scale * splits + k]);
    }
    const MinMax batch = ReduceBlock(mine, shared);
    if (threadIdx.x == 0) Finish(p, scale, batch);
  }
}

// Second pass, one thread per scale: for many scales with few splits.
__global__ void FinishThreadsKernel(ObserveMinmaxUpdateArgs p, std::int64_t scales,
                                    std::int64_t splits) {
  const auto* partial = static_cast<const MinMax*>(p.workspace);
  for (std::int64_t scale = FirstItem(); scale < scales; scale += ItemStride()) {
    MinMax batch = EmptyMinMax();
    for (std::int64_t k = 0; k < splits; ++k) Merge(batch, partial[scale * splits + k]);
    Finish(p, scale, batch);
  }
}

// From here on a block per scale is faster than a thread that merges them one by one.
constexpr std::int64_t kSplitsForBlocks = 64;

}  // namespace

ObservePlan PlanObserveMinmax(const QuantLayout& layout) {
  return PlanObserve(layout, MultiprocessorCount());
}

void observe_minmax_update(const ObserveMinmaxUpdateArgs& args, const ObservePlan& plan,
                           cudaStream_t stream) {
  const QuantLayout& layout = args.layout;
  if (plan.splits == 0) return;
  VisitFloatType(args.dtype, [&]<typename T>() {
    if (plan.by_columns) {
      Launch(&ColumnsKernel<T>, plan.blocks, stream, args, plan);
    } else {
      // a row that is not whole chunks long leaves the following rows unaligned
      const bool one_row = layout.outer * layout.channels == 1;
      const bool aligned = AreAligned(16, args.x) && AreAligned(kChunk, args.mask) &&
                           (one_row || layout.rows % kChunk == 0);
      const FastDivisor chunks_per_row(CeilDivide(layout.rows, kChunk));
      Launch(&RowsKernel<T>, plan.blocks, stream, args, plan, chunks_per_row, aligned);
    }
  });
  if (plan.splits >= kSplitsForBlocks) {
    const int blocks = GridBlocks(plan.scales * kBlockThreads, MultiprocessorCount());
    Launch(&FinishBlocksKernel, blocks, stream, args, plan.scales, plan.splits);
  } else {
    const int blocks = GridBlocks(plan.scales, MultiprocessorCount());
    Launch(&FinishThreadsKernel, blocks, stream, args, plan.scales, plan.splits);
  }
}

}  // namespace edgeqat::cuda
