// SPDX-License-Identifier: Apache-2.0
// The magnitude reduction: 16 threads are the lanes of a unit of 4096 elements.
#include <math.h>

#include "core/elementary.h"
#include "cuda/fast_divisor.h"
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/magnitude.h"

namespace edgeqat::cuda {
namespace {

constexpr int kUnitsPerBlock = kBlockThreads / kMagnitudeLanes;

// kBlockThreads / 16 units a block. Without atomics or shuffles: the order of the additions is
// fixed.
template <typename T>
__global__ void ReduceMagnitudesKernel(MagnitudeArgs p, FastDivisor rows, FastDivisor pieces,
                                       std::int64_t count, MagnitudeSums* units) {
  __shared__ double sums[kBlockThreads];
  __shared__ int counts[kBlockThreads];
  __shared__ float maxima[kBlockThreads];
  const auto* x = static_cast<const T*>(p.x);
  const int t = static_cast<int>(threadIdx.x);
  const int lane = t % kMagnitudeLanes;
  const std::int64_t elements = p.layout.outer * p.layout.rows;
  // every thread of the block walks the same number of steps, so that all meet at the barriers
  for (std::int64_t base = blockIdx.x * static_cast<std::int64_t>(kUnitsPerBlock); base < count;
       base += gridDim.x * static_cast<std::int64_t>(kUnitsPerBlock)) {
    const std::int64_t unit = base + t / kMagnitudeLanes;
    double sum = 0.0;
    int above = 0;
    float max = 0.0f;
    if (unit < count) {
      const std::int64_t scale = pieces.Divide(unit);
      const std::int64_t first = pieces.Modulo(unit) * kMagnitudePiece;
      const std::int64_t end = first + kMagnitudePiece;
      const std::int64_t last = end < elements ? end : elements;
      const std::int64_t channel = scale / p.layout.width;
      const std::int64_t column = scale - channel * p.layout.width;
      const float threshold = p.threshold == nullptr ? -0.5f : p.threshold[scale];
      for (std::int64_t i = first + lane; i < last; i += kMagnitudeLanes) {
        const std::int64_t outer = rows.Divide(i);
        const std::int64_t row = i - outer * rows.divisor();
        const std::int64_t e =
            ((outer * p.layout.channels + channel) * p.layout.rows + row) * p.layout.width + column;
        const float m = Magnitude(ToFloat(x[e]));
        const bool kept = p.mask == nullptr || p.mask[e] != 0;
        if (!kept || !(m < INFINITY) || !(m > threshold)) continue;
        sum += static_cast<double>(m);
        ++above;
        max = m > max ? m : max;
      }
    }
    sums[t] = sum;
    counts[t] = above;
    maxima[t] = max;
    __syncthreads();
    if (lane == 0 && unit < count) {
      MagnitudeSums total;
      for (int j = 0; j < kMagnitudeLanes; ++j) {
        total.sum += sums[t + j];
        total.count += counts[t + j];
        total.max = maxima[t + j] > total.max ? maxima[t + j] : total.max;
      }
      units[unit] = total;
    }
    __syncthreads();
  }
}

}  // namespace

void reduce_magnitudes(const MagnitudeArgs& args, MagnitudeSums* units, cudaStream_t stream) {
  const std::int64_t pieces = PiecesPerScale(args.layout);
  const std::int64_t count = args.layout.num_scales() * pieces;
  if (count == 0) return;
  const int blocks = GridBlocks(count * kMagnitudeLanes, MultiprocessorCount());
  VisitFloatType(args.dtype, [&]<typename T>() {
    Launch(&ReduceMagnitudesKernel<T>, blocks, stream, args, FastDivisor(args.layout.rows),
           FastDivisor(pieces), count, units);
  });
}

}  // namespace edgeqat::cuda
