// SPDX-License-Identifier: Apache-2.0
// quantize and dequantize: float values to one-byte codes and back.
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/qparam_index.h"
#include "cuda/quantize.h"
#include "cuda/quantize_rule.h"

namespace edgeqat::cuda {
namespace {

template <typename T, bool kUniform>
__global__ void QuantizeKernel(QuantizeArgs p, QparamIndex index, std::int64_t n, bool aligned) {
  const auto* x = static_cast<const T*>(p.x);
  auto* codes = static_cast<std::uint8_t*>(p.codes);
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    const int count = ChunkCount(first, n);
    const bool whole = aligned && count == kChunk;
    const auto in = LoadPack(x, first, count, whole);
    float value[kChunk];
    for (int k = 0; k < kChunk; ++k) value[k] = ToFloat(in.values[k]);
    // beyond `count` there are zeros, and any index has a scale: no branch for each element
    Grid grid = LoadGrid(p.scale, p.zero_point, index(first), p.qmin, p.qmax);
    float position[kChunk];
    if (kUniform) GridPositions(value, grid, position);
    Pack<std::uint8_t> out{};
    for (int k = 0; k < kChunk; ++k) {
      if (!kUniform) {
        grid = LoadGrid(p.scale, p.zero_point, index(first + k), p.qmin, p.qmax);
        position[k] = GridPosition(value[k], grid);
      }
      out.values[k] =
          static_cast<std::uint8_t>(CodeAt(position[k], grid));  // int8 has the same byte
    }
    StorePack(codes, first, count, whole, out);
  }
}

template <bool kUniform>
__global__ void DequantizeKernel(DequantizeArgs p, QparamIndex index, std::int64_t n,
                                 bool aligned) {
  const auto* codes = static_cast<const std::uint8_t*>(p.codes);
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    const int count = ChunkCount(first, n);
    const bool whole = aligned && count == kChunk;
    const auto in = LoadPack(codes, first, count, whole);
    std::int64_t q = index(first);
    Pack<float> out{};
    for (int k = 0; k < kChunk; ++k) {
      if (k >= count) break;
      if (!kUniform) q = index(first + k);
      out.values[k] = Dequantized(in.values[k], p.is_signed, p.scale[q], p.zero_point[q]);
    }
    StorePack(p.y, first, count, whole, out);
  }
}

}  // namespace

void quantize(const QuantizeArgs& args, cudaStream_t stream) {
  const QparamIndex index(args.layout);
  const std::int64_t n = args.layout.numel();
  const int blocks = ElementBlocks(n, MultiprocessorCount());
  const bool aligned = AreAligned(16, args.x) && AreAligned(kChunk, args.codes);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel = index.IsUniform(kChunk) ? &QuantizeKernel<T, true> : &QuantizeKernel<T, false>;
    Launch(kernel, blocks, stream, args, index, n, aligned);
  });
}

void dequantize(const DequantizeArgs& args, cudaStream_t stream) {
  const QparamIndex index(args.layout);
  const std::int64_t n = args.layout.numel();
  const int blocks = ElementBlocks(n, MultiprocessorCount());
  const bool aligned = AreAligned(16, args.y) && AreAligned(kChunk, args.codes);
  auto* kernel = index.IsUniform(kChunk) ? &DequantizeKernel<true> : &DequantizeKernel<false>;
  Launch(kernel, blocks, stream, args, index, n, aligned);
}

}  // namespace edgeqat::cuda
