// SPDX-License-Identifier: Apache-2.0
// ternary_fake_quantize: sums for the threshold, sums for the scale, then one element-wise pass.
#include "core/elementary.h"
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/magnitude.cuh"
#include "cuda/qparam_index.h"
#include "cuda/ternary_fake_quantize.h"

namespace edgeqat::cuda {
namespace {

__global__ void ThresholdKernel(const MagnitudeSums* units, std::int64_t scales,
                                std::int64_t pieces, float* threshold) {
  for (std::int64_t s = FirstItem(); s < scales; s += ItemStride()) {
    threshold[s] = TernaryThreshold(TotalOf(units, s, pieces));
  }
}

__global__ void ScaleKernel(const MagnitudeSums* units, std::int64_t scales, std::int64_t pieces,
                            float* threshold, float* scale) {
  for (std::int64_t s = FirstItem(); s < scales; s += ItemStride()) {
    const TernaryScale chosen = ChooseTernaryScale(TotalOf(units, s, pieces), threshold[s]);
    threshold[s] = chosen.threshold;
    scale[s] = chosen.scale;
  }
}

template <typename T, bool kUniform>
__global__ void TernaryKernel(TernaryFakeQuantizeArgs p, const float* threshold, QparamIndex index,
                              std::int64_t n, bool aligned) {
  const auto* x = static_cast<const T*>(p.x);
  auto* y = static_cast<T*>(p.y);
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
      const float v = ToFloat(pack.values[k]);
      const float code = Magnitude(v) > threshold[s] ? WithSign(p.scale[s], v) : 0.0f;
      const bool kept = p.mask == nullptr || keep.values[k] != 0;
      pack.values[k] = FromFloat<T>(kept ? (v == v ? code : v) : 0.0f);
    }
    StorePack(y, first, count, whole, pack);
  }
}

}  // namespace

void ternary_fake_quantize(const TernaryFakeQuantizeArgs& args, void* workspace,
                           cudaStream_t stream) {
  const std::int64_t scales = args.layout.num_scales();
  const std::int64_t pieces = PiecesPerScale(args.layout);
  auto* units = static_cast<MagnitudeSums*>(workspace);
  auto* threshold =
      reinterpret_cast<float*>(static_cast<char*>(workspace) + MagnitudeWorkspace(args.layout));
  const int blocks = GridBlocks(scales, MultiprocessorCount());
  MagnitudeArgs magnitudes{args.dtype, args.layout, args.x, args.mask, nullptr};
  reduce_magnitudes(magnitudes, units, stream);
  Launch(&ThresholdKernel, blocks, stream, static_cast<const MagnitudeSums*>(units), scales, pieces,
         threshold);
  magnitudes.threshold = threshold;
  reduce_magnitudes(magnitudes, units, stream);
  Launch(&ScaleKernel, blocks, stream, static_cast<const MagnitudeSums*>(units), scales, pieces,
         threshold, args.scale);
  const QparamIndex index(args.layout);
  const std::int64_t n = args.layout.numel();
  const bool aligned = AreAligned(16, args.x, args.y) && AreAligned(kChunk, args.mask);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel = index.IsUniform(kChunk) ? &TernaryKernel<T, true> : &TernaryKernel<T, false>;
    Launch(kernel, GridBlocks(CeilDivide(n, kChunk), MultiprocessorCount()), stream, args,
           static_cast<const float*>(threshold), index, n, aligned);
  });
}

}  // namespace edgeqat::cuda
