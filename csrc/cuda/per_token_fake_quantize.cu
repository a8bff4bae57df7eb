// SPDX-License-Identifier: Apache-2.0
// per_token_fake_quantize: some threads of a block share a row, find its range and quantize it.
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/observer_plan.h"
#include "cuda/per_token_fake_quantize.h"
#include "cuda/qparams_rule.h"
#include "cuda/quantize_rule.h"

namespace edgeqat::cuda {
namespace {

// Threads that merge a row's results: 16 take kTeam / 16 each, then one takes the 16.
constexpr int kMergers = 16;

// kTeam threads own a row, kBlockThreads / kTeam rows a block. The second reading of a row comes
// from the caches: 256 threads hold 8 KiB of float32 in flight, an L1 cache has 32 KiB and more.
template <typename T, int kTeam>
__global__ void PerTokenKernel(PerTokenFakeQuantizeArgs p, bool aligned) {
  constexpr int kRows = kBlockThreads / kTeam;
  __shared__ MinMax shared[kBlockThreads];
  __shared__ ScaleAndZeroPoint chosen[kRows];
  const int t = static_cast<int>(threadIdx.x);
  const int member = t % kTeam;
  MinMax* const team = shared + (t - member);
  const std::int64_t stride = static_cast<std::int64_t>(kTeam) * kChunk;
  // every thread of the block walks the same number of steps, so that all meet at the barriers
  for (std::int64_t base = blockIdx.x * static_cast<std::int64_t>(kRows); base < p.rows;
       base += gridDim.x * static_cast<std::int64_t>(kRows)) {
    const std::int64_t row = base + t / kTeam;
    const bool inside = row < p.rows;
    const T* const x = static_cast<const T*>(p.x) + (inside ? row * p.width : 0);
    MinMax mine = EmptyMinMax();
    for (std::int64_t first = member * kChunk; inside && first < p.width; first += stride) {
      const int count = ChunkCount(first, p.width);
      const auto in = LoadPack(x, first, count, aligned && count == kChunk);
      for (int k = 0; k < kChunk; ++k) {
        if (k < count) Take(mine, ToFloat(in.values[k]));
      }
    }
    team[member] = mine;
    __syncthreads();
    if (member < kMergers) {
      for (int k = member + kMergers; k < kTeam; k += kMergers) Merge(mine, team[k]);
      team[member] = mine;
    }
    __syncthreads();
    if (member == 0) {
      for (int k = 1; k < kMergers; ++k) Merge(mine, team[k]);
      chosen[t / kTeam] = ChooseQParamsRule(mine.min, mine.max, p.qmin, p.qmax, p.symmetric);
    }
    __syncthreads();
    const ScaleAndZeroPoint qparams = chosen[t / kTeam];
    const Grid grid = LoadGrid(&qparams.scale, &qparams.zero_point, 0, p.qmin, p.qmax);
    T* const y = static_cast<T*>(p.y) + (inside ? row * p.width : 0);
    for (std::int64_t first = member * kChunk; inside && first < p.width; first += stride) {
      const int count = ChunkCount(first, p.width);
      const bool whole = aligned && count == kChunk;
      auto pack = LoadPack(x, first, count, whole);
      float value[kChunk];
      float position[kChunk];
      for (int k = 0; k < kChunk; ++k) value[k] = ToFloat(pack.values[k]);
      GridPositions(value, grid, position);
      for (int k = 0; k < kChunk; ++k) {
        pack.values[k] = FromFloat<T>(ValueAt(position[k], grid));
      }
      StorePack(y, first, count, whole, pack);
    }
    __syncthreads();  // shared and chosen are free for the next rows
  }
}

// From 1024 elements on a row keeps a whole block busy: 128 chunks of 8.
constexpr std::int64_t kWideRow = 1024;

}  // namespace

void per_token_fake_quantize(const PerTokenFakeQuantizeArgs& args, cudaStream_t stream) {
  if (args.rows <= 0 || args.width <= 0) return;
  const bool wide = args.width >= kWideRow;
  const std::int64_t threads = args.rows * (wide ? kBlockThreads : kMergers);
  const int blocks = GridBlocks(threads, MultiprocessorCount());
  // a row that is not whole chunks long leaves the following rows unaligned
  const bool aligned =
      AreAligned(16, args.x, args.y) && (args.rows == 1 || args.width % kChunk == 0);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel = wide ? &PerTokenKernel<T, kBlockThreads> : &PerTokenKernel<T, kMergers>;
    Launch(kernel, blocks, stream, args, aligned);
  });
}

}  // namespace edgeqat::cuda
