// SPDX-License-Identifier: Apache-2.0
// observe_fake_quantize_: one read per tensor, five launches, no look at the device from the host.
#include "cuda/fake_quantize_chunk.cuh"
#include "cuda/observe_fake_quantize.h"
#include "cuda/qparams_rule.h"
#include "cuda/reduce_minmax.cuh"

namespace edgeqat::cuda {
namespace {

// Everything the kernels need beside the quantizer's arguments.
struct Range {
  std::int64_t channels;
  std::int32_t qmin, qmax;
  bool symmetric;
  float averaging;
  float* min_val;
  float* max_val;
  float* scale;
  std::int32_t* zero_point;
  std::int64_t* count;
  MinMax* partial;
  std::int32_t* fresh;  // 1 where a channel had no range before this batch
};

__device__ void Choose(const Range& p, std::int64_t channel) {
  const auto chosen =
      ChooseQParamsRule(p.min_val[channel], p.max_val[channel], p.qmin, p.qmax, p.symmetric);
  p.scale[channel] = chosen.scale;
  p.zero_point[channel] = chosen.zero_point;
}

// One block: every thread must know of every channel before the first scale is written.
__global__ void PrepareKernel(Range p) {
  __shared__ std::int32_t found[kBlockThreads];
  const int t = static_cast<int>(threadIdx.x);
  std::int32_t mine = 0;
  for (std::int64_t c = t; c < p.channels; c += kBlockThreads) {
    if (p.min_val[c] > p.max_val[c]) mine = 1;
  }
  found[t] = mine;
  __syncthreads();
  std::int32_t fresh = 0;
  for (int k = 0; k < kBlockThreads; ++k) fresh |= found[k];
  if (t == 0) *p.fresh = fresh;
  if (fresh != 0) return;
  for (std::int64_t c = t; c < p.channels; c += kBlockThreads) Choose(p, c);
}

// kObserve: per tensor; each block leaves what it saw in partial[blockIdx.x]. only_if: runs where
// it points to 1.
template <typename T, bool kUniform, bool kObserve>
__global__ void QuantizeKernel(FakeQuantizeArgs p, QparamIndex index, std::int64_t n, bool aligned,
                               MinMax* partial, const std::int32_t* only_if) {
  __shared__ MinMax shared[kBlockThreads];
  if (only_if != nullptr && *only_if == 0) return;
  MinMax mine = EmptyMinMax();
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    FakeQuantizeChunk<T, kUniform>(p, index, first, n, aligned, [&mine](float value) {
      if (kObserve) Take(mine, value);
    });
  }
  if (!kObserve) return;
  const MinMax total = ReduceBlock(mine, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

// One block: merges the quantizing kernel's blocks into the state.
__global__ void FinishTensorKernel(Range p, int blocks) {
  __shared__ MinMax shared[kBlockThreads];
  MinMax mine = EmptyMinMax();
  for (int k = static_cast<int>(threadIdx.x); k < blocks; k += kBlockThreads) {
    Merge(mine, p.partial[k]);
  }
  const MinMax batch = ReduceBlock(mine, shared);
  if (threadIdx.x != 0) return;
  UpdateState(batch, p.averaging, p.min_val[0], p.max_val[0]);
  p.count[0] += 1;
  p.count[1] += batch.skipped;
}

__global__ void ChooseIfFreshKernel(Range p) {
  if (*p.fresh == 0) return;
  for (std::int64_t c = FirstItem(); c < p.channels; c += ItemStride()) Choose(p, c);
}

}  // namespace

ObserveFakeQuantizePlan PlanObserveFakeQuantize(const QuantLayout& layout) {
  return {PlanObserveMinmax(layout), ElementBlocks(layout.numel(), MultiprocessorCount())};
}

void observe_fake_quantize_update(const ObserveFakeQuantizeUpdateArgs& args,
                                  const ObserveFakeQuantizePlan& plan, cudaStream_t stream) {
  const FakeQuantizeArgs& quantize = args.quantize;
  const QuantLayout& layout = quantize.layout;
  const std::int64_t n = layout.numel();
  if (n == 0) return;
  auto* const bytes = static_cast<char*>(args.workspace);
  const Range range = {layout.num_scales(),
                       quantize.qmin,
                       quantize.qmax,
                       args.symmetric,
                       args.averaging,
                       args.min_val,
                       args.max_val,
                       args.scale,
                       args.zero_point,
                       args.count,
                       reinterpret_cast<MinMax*>(bytes),
                       reinterpret_cast<std::int32_t*>(bytes + plan.partial_bytes())};
  const bool per_tensor = layout.num_scales() == 1;
  const QparamIndex index(layout);
  const bool aligned = AreAligned(16, quantize.x, quantize.y) && AreAligned(kChunk, quantize.mask);
  const std::int32_t* const always = nullptr;
  const std::int32_t* const if_fresh = range.fresh;
  Launch(&PrepareKernel, 1, stream, range);
  VisitFloatType(quantize.dtype, [&]<typename T>() {
    auto* const again = index.IsUniform(kChunk) ? &QuantizeKernel<T, true, false>
                                                : &QuantizeKernel<T, false, false>;
    if (per_tensor) {
      Launch(&QuantizeKernel<T, true, true>, plan.blocks, stream, quantize, index, n, aligned,
             range.partial, always);
      Launch(&FinishTensorKernel, 1, stream, range, plan.blocks);
    } else {
      Launch(again, plan.blocks, stream, quantize, index, n, aligned, range.partial, always);
      observe_minmax_update({.dtype = quantize.dtype,
                             .layout = layout,
                             .x = quantize.x,
                             .mask = quantize.mask,
                             .averaging = args.averaging,
                             .min_val = args.min_val,
                             .max_val = args.max_val,
                             .count = args.count,
                             .workspace = args.workspace,
                             .activation = quantize.activation},
                            plan.observe, stream);
    }
    Launch(&ChooseIfFreshKernel, GridBlocks(range.channels, MultiprocessorCount()), stream, range);
    Launch(again, plan.blocks, stream, quantize, index, n, aligned, range.partial, if_fresh);
  });
}

}  // namespace edgeqat::cuda
