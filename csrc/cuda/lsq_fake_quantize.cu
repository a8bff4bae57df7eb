// SPDX-License-Identifier: Apache-2.0
// lsq_fake_quantize: one pass forward; backward one pass that also sums, and a second over the
// sums.
#include "cuda/activation_rule.h"
#include "cuda/fast_divisor.h"
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/lsq_fake_quantize.h"
#include "cuda/lsq_rule.h"
#include "cuda/qparam_index.h"

namespace edgeqat::cuda {
namespace {

template <typename T, bool kUniform>
__global__ void LsqKernel(LsqFakeQuantizeArgs p, QparamIndex index, std::int64_t n, bool aligned) {
  const auto* x = static_cast<const T*>(p.x);
  auto* y = static_cast<T*>(p.y);
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    const int count = ChunkCount(first, n);
    const bool whole = aligned && count == kChunk;
    const auto in = LoadPack(x, first, count, whole);
    Pack<std::uint8_t> keep{};
    if (p.mask != nullptr) keep = LoadPack(p.mask, first, count, whole);
    float value[kChunk];
    float activated[kChunk];
    for (int k = 0; k < kChunk; ++k) activated[k] = value[k] = ToFloat(in.values[k]);
    ActivateAll(p.activation, activated);
    // beyond `count` there are zeros, and any index has a scale: no branch for each element
    Grid grid = LoadLearnedGrid(p, index(first));
    float position[kChunk];
    if (kUniform) GridPositions(activated, grid, position);
    Pack<T> out{};
    Pack<std::int8_t> residual{};
    for (int k = 0; k < kChunk; ++k) {
      if (!kUniform) {
        grid = LoadLearnedGrid(p, index(first + k));
        position[k] = GridPosition(activated[k], grid);
      }
      out.values[k] = FromFloat<T>(ValueAt(position[k], grid));
      if (p.residual != nullptr) {
        residual.values[k] = ResidualCode(value[k], activated[k], grid, p.activation);
      }
    }
    if (p.mask != nullptr) {
      for (int k = 0; k < kChunk; ++k) {
        if (keep.values[k] != 0) continue;
        out.values[k] = T{};
        residual.values[k] = kResidualDead;
      }
    }
    StorePack(y, first, count, whole, out);
    if (p.residual != nullptr) StorePack(p.residual, first, count, whole, residual);
  }
}

__global__ void LearnedStepKernel(LearnedStepArgs p) {
  for (std::int64_t i = FirstItem(); i < p.count; i += ItemStride()) {
    p.step[i] = LearnedStep(p.scale[i], p.qmin, p.qmax, p.rule);
  }
}

// The terms of element e, whose gradient is g; kCompact reads the residual, otherwise x.
template <typename T, bool kCompact>
__device__ LsqTerms TermsAt(const LsqFakeQuantizeBackwardArgs& p, float g, std::int64_t e,
                            const Grid& grid) {
  if (kCompact) return CompactTerms(p, g, p.residual[e], grid);
  if (p.mask != nullptr && p.mask[e] == 0) return {};
  return ExactTerms(p, g, ToFloat(static_cast<const T*>(p.x)[e]), grid);
}

__device__ void Accumulate(SumPair& sum, double step, double offset) {
  sum.step += step;
  sum.offset += offset;
}

// The sums of each team of `team` threads in a fixed order: 16 threads take a sixteenth each, then
// the first takes the 16. What it returns means something in the first thread of the team.
__device__ SumPair ReduceSums(const SumPair& mine, SumPair* shared, int team) {
  constexpr int kLanes = 16;
  const int t = static_cast<int>(threadIdx.x);
  const int member = t % team;
  shared[t] = mine;
  __syncthreads();
  SumPair result = mine;
  if (member < kLanes) {
    for (int k = kLanes; k < team - member; k += kLanes) {
      Accumulate(result, shared[t + k].step, shared[t + k].offset);
    }
    shared[t] = result;
  }
  __syncthreads();
  if (member == 0) {
    const int lanes = team < kLanes ? team : kLanes;
    for (int k = 1; k < lanes; ++k) Accumulate(result, shared[t + k].step, shared[t + k].offset);
  }
  __syncthreads();  // shared is free for the next use
  return result;
}

__device__ void WriteGradients(const LsqFakeQuantizeBackwardArgs& p, std::int64_t scale,
                               const SumPair& sum) {
  const double slope = LearnedStepSlope(p.scale[scale], p.qmin, p.qmax, p.rule);
  p.grad_scale[scale] = static_cast<float>(sum.step * slope * p.grad_factor);
  if (p.offset != nullptr) p.grad_offset[scale] = static_cast<float>(sum.offset * p.grad_factor);
}

// One split of a scale is summed: that is its gradient, or waits for the second pass.
__device__ void FinishSplit(const LsqFakeQuantizeBackwardArgs& p, const SumPlan& plan,
                            SumPair* partial, std::int64_t scale, std::int64_t split,
                            const SumPair& sum) {
  if (plan.one_pass()) {
    WriteGradients(p, scale, sum);
  } else {
    partial[scale * plan.splits + split] = sum;
  }
}

// Where a scale owns runs of `rows` consecutive elements. Unit u is split u % splits of the
// kBlockThreads / team scales of tile u / splits.
template <typename T, bool kCompact>
__global__ void LsqRowsKernel(LsqFakeQuantizeBackwardArgs p, SumPlan plan, SumPair* partial,
                              FastDivisor chunks_per_row, bool aligned) {
  __shared__ SumPair shared[kBlockThreads];
  const auto* grad = static_cast<const T*>(p.grad);
  const auto* x = static_cast<const T*>(p.x);
  auto* grad_x = static_cast<T*>(p.grad_x);
  const std::int64_t chunks = plan.layout.outer * chunks_per_row.divisor();
  const int member = static_cast<int>(threadIdx.x) % plan.team;
  const int team = static_cast<int>(threadIdx.x) / plan.team;
  for (std::int64_t unit = blockIdx.x; unit < plan.units(); unit += gridDim.x) {
    const std::int64_t tile = unit / plan.splits;
    const std::int64_t split = unit - tile * plan.splits;
    const std::int64_t channel = tile * (kBlockThreads / plan.team) + team;
    const bool inside = channel < plan.scales;
    const Grid grid = LoadLearnedGrid(p, inside ? channel : 0);
    SumPair mine = {0.0, 0.0};
    for (std::int64_t chunk = split * plan.team + member; inside && chunk < chunks;
         chunk += plan.splits * plan.team) {
      const std::int64_t row = chunks_per_row.Divide(chunk);
      const std::int64_t column = (chunk - row * chunks_per_row.divisor()) * kChunk;
      const std::int64_t first = (row * plan.layout.channels + channel) * plan.layout.rows + column;
      const int count = ChunkCount(column, plan.layout.rows);
      const bool whole = aligned && count == kChunk;
      const auto g = LoadPack(grad, first, count, whole);
      Pack<T> value{};
      Pack<std::int8_t> residual{};
      Pack<std::uint8_t> keep{};
      if (kCompact) {
        residual = LoadPack(p.residual, first, count, whole);
      } else {
        value = LoadPack(x, first, count, whole);
        if (p.mask != nullptr) keep = LoadPack(p.mask, first, count, whole);
      }
      Pack<T> out{};
      float step = 0.0f;  // eight terms in float32, from there in double
      float offset = 0.0f;
      for (int k = 0; k < kChunk; ++k) {
        if (k >= count) break;
        const float gradient = ToFloat(g.values[k]);
        LsqTerms terms;
        if (kCompact) {
          terms = CompactTerms(p, gradient, residual.values[k], grid);
        } else if (p.mask == nullptr || keep.values[k] != 0) {
          terms = ExactTerms(p, gradient, ToFloat(value.values[k]), grid);
        }
        out.values[k] = FromFloat<T>(terms.grad_x);
        step = Add(step, terms.step);
        offset = Add(offset, terms.offset);
      }
      StorePack(grad_x, first, count, whole, out);
      Accumulate(mine, step, offset);
    }
    const SumPair total = ReduceSums(mine, shared, plan.team);
    if (member == 0 && inside) FinishSplit(p, plan, partial, channel, split, total);
  }
}

// Where the scale changes from element to element: each channel is [rows, width]. Unit u is split
// u % splits of the tile of 32 columns u / splits.
template <typename T, bool kCompact>
__global__ void LsqColumnsKernel(LsqFakeQuantizeBackwardArgs p, SumPlan plan, SumPair* partial) {
  __shared__ SumPair shared[kBlockThreads];
  const auto* grad = static_cast<const T*>(p.grad);
  auto* grad_x = static_cast<T*>(p.grad_x);
  const int lane = static_cast<int>(threadIdx.x) / kSumColumns;
  const std::int64_t tiles_per_channel = plan.tiles / plan.layout.channels;
  for (std::int64_t unit = blockIdx.x; unit < plan.units(); unit += gridDim.x) {
    const std::int64_t tile = unit / plan.splits;
    const std::int64_t split = unit - tile * plan.splits;
    const std::int64_t channel = tile / tiles_per_channel;
    const std::int64_t column =
        (tile - channel * tiles_per_channel) * kSumColumns + threadIdx.x % kSumColumns;
    const bool inside = column < plan.layout.width;
    const std::int64_t scale = channel * plan.layout.width + column;
    SumPair mine = {0.0, 0.0};
    if (inside) {
      const Grid grid = LoadLearnedGrid(p, scale);
      const std::int64_t start = channel * plan.layout.rows * plan.layout.width + column;
      for (std::int64_t row = split * kSumRows + lane; row < plan.layout.rows;
           row += plan.splits * kSumRows) {
        const std::int64_t e = start + row * plan.layout.width;
        const LsqTerms terms = TermsAt<T, kCompact>(p, ToFloat(grad[e]), e, grid);
        grad_x[e] = FromFloat<T>(terms.grad_x);
        Accumulate(mine, terms.step, terms.offset);
      }
    }
    shared[threadIdx.x] = mine;
    __syncthreads();
    if (lane == 0 && inside) {
      for (int k = 1; k < kSumRows; ++k) {
        const SumPair& other = shared[k * kSumColumns + threadIdx.x];
        Accumulate(mine, other.step, other.offset);
      }
      FinishSplit(p, plan, partial, scale, split, mine);
    }
    __syncthreads();
  }
}

// Second pass, one block per scale: for few scales with many splits.
__global__ void LsqFinishBlocksKernel(LsqFakeQuantizeBackwardArgs p, SumPlan plan,
                                      const SumPair* partial) {
  __shared__ SumPair shared[kBlockThreads];
  for (std::int64_t scale = blockIdx.x; scale < plan.scales; scale += gridDim.x) {
    SumPair mine = {0.0, 0.0};
    for (std::int64_t k = threadIdx.x; k < plan.splits; k += kBlockThreads) {
      const SumPair& one = partial[scale * plan.splits + k];
      Accumulate(mine, one.step, one.offset);
    }
    const SumPair sum = ReduceSums(mine, shared, kBlockThreads);
    if (threadIdx.x == 0) WriteGradients(p, scale, sum);
  }
}

// Second pass, one thread per scale: for many scales with few splits; also for none of the
// elements.
__global__ void LsqFinishThreadsKernel(LsqFakeQuantizeBackwardArgs p, SumPlan plan,
                                       const SumPair* partial) {
  for (std::int64_t scale = FirstItem(); scale < plan.scales; scale += ItemStride()) {
    SumPair sum = {0.0, 0.0};
    for (std::int64_t k = 0; k < plan.splits; ++k) {
      const SumPair& one = partial[scale * plan.splits + k];
      Accumulate(sum, one.step, one.offset);
    }
    WriteGradients(p, scale, sum);
  }
}

// From here on a block per scale is faster than a thread that adds them one by one.
constexpr std::int64_t kSplitsForBlocks = 64;

template <bool kCompact>
void LaunchBackward(const LsqFakeQuantizeBackwardArgs& args, void* workspace, cudaStream_t stream) {
  const SumPlan plan = PlanSums(args.layout);
  auto* partial = static_cast<SumPair*>(workspace);
  const int blocks = GridBlocks(plan.units() * kBlockThreads, MultiprocessorCount());
  VisitFloatType(args.dtype, [&]<typename T>() {
    if (plan.by_columns) {
      Launch(&LsqColumnsKernel<T, kCompact>, blocks, stream, args, plan, partial);
    } else if (plan.splits > 0) {
      // a row that is not whole chunks long leaves the following rows unaligned
      const bool one_row = plan.layout.outer * plan.layout.channels == 1;
      const bool aligned = AreAligned(16, args.grad, args.grad_x, args.x) &&
                           AreAligned(kChunk, args.residual, args.mask) &&
                           (one_row || plan.layout.rows % kChunk == 0);
      const FastDivisor chunks_per_row(CeilDivide(plan.layout.rows, kChunk));
      Launch(&LsqRowsKernel<T, kCompact>, blocks, stream, args, plan, partial, chunks_per_row,
             aligned);
    }
  });
  if (plan.one_pass()) return;
  const SumPair* sums = partial;
  if (plan.splits >= kSplitsForBlocks) {
    const int all = GridBlocks(plan.scales * kBlockThreads, MultiprocessorCount());
    Launch(&LsqFinishBlocksKernel, all, stream, args, plan, sums);
  } else {
    const int all = GridBlocks(plan.scales, MultiprocessorCount());
    Launch(&LsqFinishThreadsKernel, all, stream, args, plan, sums);
  }
}

}  // namespace

void learned_step(const LearnedStepArgs& args, cudaStream_t stream) {
  Launch(&LearnedStepKernel, GridBlocks(args.count, MultiprocessorCount()), stream, args);
}

void lsq_fake_quantize(const LsqFakeQuantizeArgs& args, cudaStream_t stream) {
  const QparamIndex index(args.layout);
  const std::int64_t n = args.layout.numel();
  const int blocks = ElementBlocks(n, MultiprocessorCount());
  const bool aligned =
      AreAligned(16, args.x, args.y) && AreAligned(kChunk, args.mask, args.residual);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel = index.IsUniform(kChunk) ? &LsqKernel<T, true> : &LsqKernel<T, false>;
    Launch(kernel, blocks, stream, args, index, n, aligned);
  });
}

void lsq_fake_quantize_backward(const LsqFakeQuantizeBackwardArgs& args, void* workspace,
                                cudaStream_t stream) {
  LaunchBackward<false>(args, workspace, stream);
}

void lsq_fake_quantize_compact_backward(const LsqFakeQuantizeBackwardArgs& args, void* workspace,
                                        cudaStream_t stream) {
  LaunchBackward<true>(args, workspace, stream);
}

void lsq_fake_quantize_multi(std::span<const LsqFakeQuantizeArgs> args, cudaStream_t stream) {
  for (const LsqFakeQuantizeArgs& one : args) lsq_fake_quantize(one, stream);
}

void lsq_fake_quantize_multi_backward(std::span<const LsqFakeQuantizeBackwardArgs> args,
                                      void* workspace, cudaStream_t stream) {
  for (const LsqFakeQuantizeBackwardArgs& one : args) {
    lsq_fake_quantize_backward(one, workspace, stream);
  }
}

}  // namespace edgeqat::cuda
