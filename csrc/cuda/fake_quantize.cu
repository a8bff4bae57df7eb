// SPDX-License-Identifier: Apache-2.0
// fake_quantize: one pass that reads x once and writes y and, for training, one bit per element.
#include "cuda/activation_rule.h"
#include "cuda/fake_quantize.h"
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/qparam_index.h"
#include "cuda/quantize_rule.h"

namespace edgeqat::cuda {
namespace {

// A thread owns a chunk of eight elements and so the whole byte of their bits: no two threads
// write the same byte. kUniform: the chunk has one scale.
template <typename T, bool kUniform>
__global__ void FakeQuantizeKernel(FakeQuantizeArgs p, QparamIndex index, std::int64_t n,
                                   bool aligned) {
  const auto* x = static_cast<const T*>(p.x);
  auto* y = static_cast<T*>(p.y);
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    const int count = ChunkCount(first, n);
    const bool whole = aligned && count == kChunk;
    const auto in = LoadPack(x, first, count, whole);
    Pack<std::uint8_t> keep{};
    if (p.mask != nullptr) keep = LoadPack(p.mask, first, count, whole);
    Grid grid = LoadGrid(p.scale, p.zero_point, index(first), p.qmin, p.qmax);
    Pack<T> out{};
    unsigned byte = 0;
    for (int k = 0; k < kChunk; ++k) {
      if (k >= count) break;
      if (!kUniform) grid = LoadGrid(p.scale, p.zero_point, index(first + k), p.qmin, p.qmax);
      const bool kept = p.mask == nullptr || keep.values[k] != 0;
      const float value = ToFloat(in.values[k]);
      const float position = GridPosition(Activate(p.activation, value), grid);
      out.values[k] = FromFloat<T>(kept ? ValueAt(position, grid) : 0.0f);
      const bool passes = IsInRange(position, grid) && PassesActivation(p.activation, value);
      byte |= static_cast<unsigned>(kept && passes) << k;
    }
    StorePack(y, first, count, whole, out);
    if (p.bits != nullptr) p.bits[first / kChunk] = static_cast<std::uint8_t>(byte);
  }
}

template <typename T>
__global__ void FakeQuantizeBackwardKernel(FakeQuantizeBackwardArgs p, bool aligned) {
  const auto* grad = static_cast<const T*>(p.grad);
  auto* grad_x = static_cast<T*>(p.grad_x);
  for (std::int64_t first = FirstItem() * kChunk; first < p.numel; first += ItemStride() * kChunk) {
    const int count = ChunkCount(first, p.numel);
    const bool whole = aligned && count == kChunk;
    auto pack = LoadPack(grad, first, count, whole);
    const unsigned byte = p.bits[first / kChunk];
    if (p.activation == ActivationKind::kHardswish) {
      const auto x = LoadPack(static_cast<const T*>(p.x), first, count, whole);
      for (int k = 0; k < kChunk; ++k)
        pack.values[k] = HardswishGradient(pack.values[k], x.values[k]);
    }
    for (int k = 0; k < kChunk; ++k) {
      // a select, not a product with the bit: NaN * 0 would be NaN
      if (((byte >> k) & 1u) == 0) pack.values[k] = T{};
    }
    StorePack(grad_x, first, count, whole, pack);
  }
}

}  // namespace

void fake_quantize(const FakeQuantizeArgs& args, cudaStream_t stream) {
  const QparamIndex index(args.layout);
  const std::int64_t n = args.layout.numel();
  const int blocks = GridBlocks(CeilDivide(n, kChunk), MultiprocessorCount());
  const bool aligned = AreAligned(16, args.x, args.y) && AreAligned(kChunk, args.mask);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel =
        index.IsUniform(kChunk) ? &FakeQuantizeKernel<T, true> : &FakeQuantizeKernel<T, false>;
    Launch(kernel, blocks, stream, args, index, n, aligned);
  });
}

void fake_quantize_backward(const FakeQuantizeBackwardArgs& args, cudaStream_t stream) {
  const int blocks = GridBlocks(CeilDivide(args.numel, kChunk), MultiprocessorCount());
  const bool aligned = AreAligned(16, args.grad, args.grad_x, args.x);
  VisitFloatType(args.dtype, [&]<typename T>() {
    Launch(&FakeQuantizeBackwardKernel<T>, blocks, stream, args, aligned);
  });
}

}  // namespace edgeqat::cuda
