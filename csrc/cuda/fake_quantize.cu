// SPDX-License-Identifier: Apache-2.0
// fake_quantize: one pass that reads x once and writes y and, for training, one bit per element.
#include "cuda/fake_quantize.h"
#include "cuda/fake_quantize_chunk.cuh"

namespace edgeqat::cuda {
namespace {

template <typename T, bool kUniform>
__global__ void FakeQuantizeKernel(FakeQuantizeArgs p, QparamIndex index, std::int64_t n,
                                   bool aligned) {
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    FakeQuantizeChunk<T, kUniform>(p, index, first, n, aligned, [](float) {});
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
  const int blocks = ElementBlocks(n, MultiprocessorCount());
  const bool aligned = AreAligned(16, args.x, args.y) && AreAligned(kChunk, args.mask);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel =
        index.IsUniform(kChunk) ? &FakeQuantizeKernel<T, true> : &FakeQuantizeKernel<T, false>;
    Launch(kernel, blocks, stream, args, index, n, aligned);
  });
}

void fake_quantize_backward(const FakeQuantizeBackwardArgs& args, cudaStream_t stream) {
  const int blocks = ElementBlocks(args.numel, MultiprocessorCount());
  const bool aligned = AreAligned(16, args.grad, args.grad_x, args.x);
  VisitFloatType(args.dtype, [&]<typename T>() {
    Launch(&FakeQuantizeBackwardKernel<T>, blocks, stream, args, aligned);
  });
}

}  // namespace edgeqat::cuda
