// SPDX-License-Identifier: Apache-2.0
// dorefa_fake_quantize and its backward: the maximum of every scale, then one element-wise pass.
#include "core/elementary.h"
#include "cuda/dorefa_fake_quantize.h"
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/magnitude.cuh"
#include "cuda/qparam_index.h"
#include "cuda/quantize_rule.h"

namespace edgeqat::cuda {
namespace {

__global__ void DivisorKernel(const MagnitudeSums* units, std::int64_t scales, std::int64_t pieces,
                              float* divisor) {
  for (std::int64_t s = FirstItem(); s < scales; s += ItemStride()) {
    divisor[s] = DorefaDivisor(TotalOf(units, s, pieces).max);
  }
}

template <typename T, bool kUniform>
__global__ void DorefaKernel(DorefaFakeQuantizeArgs p, const float* divisor, QparamIndex index,
                             std::int64_t n, bool aligned) {
  const auto* x = static_cast<const T*>(p.x);
  auto* y = static_cast<T*>(p.y);
  const auto qmax = static_cast<float>(p.qmax);
  const Grid grid{Divide(1.0f, qmax), 0.0f, static_cast<float>(p.qmin), qmax};
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    const int count = ChunkCount(first, n);
    const bool whole = aligned && count == kChunk;
    auto pack = LoadPack(x, first, count, whole);
    Pack<std::uint8_t> keep{};
    if (p.mask != nullptr) keep = LoadPack(p.mask, first, count, whole);
    std::int64_t s = index(first);
    for (int k = 0; k < kChunk; ++k) {
      if (k >= count) break;
      if (!kUniform) s = index(first + k);
      const float t = Divide(Tanh(ToFloat(pack.values[k])), divisor[s]);
      const bool kept = p.mask == nullptr || keep.values[k] != 0;
      pack.values[k] = FromFloat<T>(kept ? ValueAt(GridPosition(t, grid), grid) : 0.0f);
    }
    StorePack(y, first, count, whole, pack);
  }
}

template <typename T, bool kUniform>
__global__ void DorefaBackwardKernel(DorefaFakeQuantizeBackwardArgs p, const float* divisor,
                                     QparamIndex index, std::int64_t n, bool aligned) {
  const auto* x = static_cast<const T*>(p.x);
  const auto* grad = static_cast<const T*>(p.grad);
  auto* grad_x = static_cast<T*>(p.grad_x);
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    const int count = ChunkCount(first, n);
    const bool whole = aligned && count == kChunk;
    const auto values = LoadPack(x, first, count, whole);
    auto pack = LoadPack(grad, first, count, whole);
    Pack<std::uint8_t> keep{};
    if (p.mask != nullptr) keep = LoadPack(p.mask, first, count, whole);
    std::int64_t s = index(first);
    for (int k = 0; k < kChunk; ++k) {
      if (k >= count) break;
      if (!kUniform) s = index(first + k);
      const float slope = Divide(TanhDerivative(ToFloat(values.values[k])), divisor[s]);
      const bool kept = p.mask == nullptr || keep.values[k] != 0;
      pack.values[k] = FromFloat<T>(kept ? Multiply(ToFloat(pack.values[k]), slope) : 0.0f);
    }
    StorePack(grad_x, first, count, whole, pack);
  }
}

// Launches the reduction; returns where the divisors will be.
const float* LaunchDivisors(const MagnitudeArgs& args, void* workspace, cudaStream_t stream) {
  auto* units = static_cast<MagnitudeSums*>(workspace);
  auto* divisor =
      reinterpret_cast<float*>(static_cast<char*>(workspace) + MagnitudeWorkspace(args.layout));
  reduce_magnitudes(args, units, stream);
  const std::int64_t scales = args.layout.num_scales();
  Launch(&DivisorKernel, GridBlocks(scales, MultiprocessorCount()), stream,
         static_cast<const MagnitudeSums*>(units), scales, PiecesPerScale(args.layout), divisor);
  return divisor;
}

}  // namespace

void dorefa_fake_quantize(const DorefaFakeQuantizeArgs& args, void* workspace,
                          cudaStream_t stream) {
  const float* divisor =
      LaunchDivisors({args.dtype, args.layout, args.x, args.mask, nullptr}, workspace, stream);
  const QparamIndex index(args.layout);
  const std::int64_t n = args.layout.numel();
  const bool aligned = AreAligned(16, args.x, args.y) && AreAligned(kChunk, args.mask);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel = index.IsUniform(kChunk) ? &DorefaKernel<T, true> : &DorefaKernel<T, false>;
    Launch(kernel, GridBlocks(CeilDivide(n, kChunk), MultiprocessorCount()), stream, args, divisor,
           index, n, aligned);
  });
}

void dorefa_fake_quantize_backward(const DorefaFakeQuantizeBackwardArgs& args, void* workspace,
                                   cudaStream_t stream) {
  const float* divisor =
      LaunchDivisors({args.dtype, args.layout, args.x, args.mask, nullptr}, workspace, stream);
  const QparamIndex index(args.layout);
  const std::int64_t n = args.layout.numel();
  const bool aligned =
      AreAligned(16, args.x, args.grad, args.grad_x) && AreAligned(kChunk, args.mask);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel =
        index.IsUniform(kChunk) ? &DorefaBackwardKernel<T, true> : &DorefaBackwardKernel<T, false>;
    Launch(kernel, GridBlocks(CeilDivide(n, kChunk), MultiprocessorCount()), stream, args, divisor,
           index, n, aligned);
  });
}

}  // namespace edgeqat::cuda
