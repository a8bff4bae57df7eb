// SPDX-License-Identifier: Apache-2.0
// oscillation_update: one pass over the weights and their five counters.
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/oscillation.h"
#include "cuda/qparam_index.h"
#include "cuda/quantize_rule.h"

namespace edgeqat::cuda {
namespace {

template <typename T, bool kUniform>
__global__ void OscillationUpdateKernel(OscillationUpdateArgs p, QparamIndex index, std::int64_t n,
                                        bool aligned) {
  auto* weight = static_cast<T*>(p.weight);
  for (std::int64_t first = FirstItem() * kChunk; first < n; first += ItemStride() * kChunk) {
    const int count = ChunkCount(first, n);
    const bool whole = aligned && count == kChunk;
    auto weights = LoadPack(weight, first, count, whole);
    auto codes = LoadPack(p.codes, first, count, whole);
    auto direction = LoadPack(p.direction, first, count, whole);
    auto frequency = LoadPack(p.frequency, first, count, whole);
    auto mean_code = LoadPack(p.mean_code, first, count, whole);
    auto frozen = LoadPack(p.frozen, first, count, whole);
    Grid grid = LoadGrid(p.scale, p.zero_point, index(first), p.qmin, p.qmax);
    for (int k = 0; k < kChunk; ++k) {
      if (k >= count) break;
      if (!kUniform) grid = LoadGrid(p.scale, p.zero_point, index(first + k), p.qmin, p.qmax);
      const float position = GridPosition(ToFloat(weights.values[k]), grid);
      const OscillationState last = {static_cast<float>(codes.values[k]),
                                     static_cast<float>(direction.values[k]), frequency.values[k],
                                     mean_code.values[k], frozen.values[k] != 0};
      const OscillationState next =
          NextOscillation(last, static_cast<float>(CodeAt(position, grid)), grid.qmin, grid.qmax,
                          p.momentum, p.freeze_threshold);
      codes.values[k] = static_cast<std::int8_t>(next.code);
      direction.values[k] = static_cast<std::int8_t>(next.direction);
      frequency.values[k] = next.frequency;
      mean_code.values[k] = next.mean_code;
      frozen.values[k] = next.frozen ? 1 : 0;
      if (next.frozen) {
        weights.values[k] =
            FromFloat<T>(Multiply(Subtract(next.code, grid.zero_point), grid.scale));
      }
    }
    StorePack(weight, first, count, whole, weights);
    StorePack(p.codes, first, count, whole, codes);
    StorePack(p.direction, first, count, whole, direction);
    StorePack(p.frequency, first, count, whole, frequency);
    StorePack(p.mean_code, first, count, whole, mean_code);
    StorePack(p.frozen, first, count, whole, frozen);
  }
}

}  // namespace

void oscillation_update(const OscillationUpdateArgs& args, cudaStream_t stream) {
  const QparamIndex index(args.layout);
  const std::int64_t n = args.layout.numel();
  const int blocks = GridBlocks(CeilDivide(n, kChunk), MultiprocessorCount());
  const bool aligned = AreAligned(16, args.weight, args.frequency, args.mean_code) &&
                       AreAligned(kChunk, args.codes, args.direction, args.frozen);
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel = index.IsUniform(kChunk) ? &OscillationUpdateKernel<T, true>
                                           : &OscillationUpdateKernel<T, false>;
    Launch(kernel, blocks, stream, args, index, n, aligned);
  });
}

}  // namespace edgeqat::cuda
