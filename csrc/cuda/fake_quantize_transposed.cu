// SPDX-License-Identifier: Apache-2.0
// The kernels for channels_last data: one pass that reads in memory order and packs bits in
// row-major order.
#include "cuda/activation_rule.h"
#include "cuda/fake_quantize_transposed.h"
#include "cuda/fast_divisor.h"
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/qparam_index.h"
#include "cuda/quantize_rule.h"

namespace edgeqat::cuda {
namespace {

// From the number of a thread's item to its byte of bits and to its eight elements in memory.
struct Walk {
  explicit Walk(const TransposedShape& shape)
      : items(shape.batch * shape.rows * shape.columns / kChunk),
        columns_per_region(shape.columns_per_region()),
        columns(shape.columns),
        rows(shape.rows),
        regions(shape.columns / columns_per_region),
        bytes(columns_per_region * shape.rows / kChunk) {}

  struct Position {
    std::int64_t byte;   // of the bits; its first element is 8 * byte in row-major order
    std::int64_t pixel;  // batch * rows + row of the first element, in memory order
    std::int64_t row;
    std::int64_t column;

    // To the next element in row-major order.
    EDGEQAT_HOST_DEVICE void Advance(std::int64_t rows) {
      ++row;
      ++pixel;
      if (row < rows) return;
      row = 0;
      pixel -= rows;
      ++column;
    }
  };

  // Regions vary fastest.
  EDGEQAT_HOST_DEVICE Position At(std::int64_t item) const {
    const std::int64_t outer = regions.Divide(item);
    const std::int64_t region = item - outer * regions.divisor();
    const std::int64_t batch = bytes.Divide(outer);
    const std::int64_t byte = outer - batch * bytes.divisor();
    const std::int64_t column = rows.Divide(byte * kChunk);
    const std::int64_t row = byte * kChunk - column * rows.divisor();
    return {(batch * regions.divisor() + region) * bytes.divisor() + byte,
            batch * rows.divisor() + row, row, region * columns_per_region + column};
  }

  std::int64_t items;
  std::int64_t columns_per_region;
  std::int64_t columns;
  FastDivisor rows;
  FastDivisor regions;  // per batch
  FastDivisor bytes;    // per region
};

template <typename T, bool kUniform>
__global__ void FakeQuantizeTransposedKernel(FakeQuantizeArgs p, QparamIndex index, Walk walk) {
  const auto* x = static_cast<const T*>(p.x);
  auto* y = static_cast<T*>(p.y);
  for (std::int64_t item = FirstItem(); item < walk.items; item += ItemStride()) {
    Walk::Position at = walk.At(item);
    const std::int64_t byte_position = at.byte;
    const std::int64_t first = byte_position * kChunk;
    // all loads before the first store, which could alias them: one memory latency, not eight
    std::int64_t memory[kChunk];
    Pack<T> pack{};
    Pack<std::uint8_t> keep{};
    for (int k = 0; k < kChunk; ++k) {
      memory[k] = at.pixel * walk.columns + at.column;
      pack.values[k] = x[memory[k]];
      if (p.mask != nullptr) keep.values[k] = p.mask[memory[k]];
      at.Advance(walk.rows.divisor());
    }
    float value[kChunk];
    for (int k = 0; k < kChunk; ++k) value[k] = ToFloat(pack.values[k]);
    unsigned byte = ActivateAll(p.activation, value);
    Grid grid = LoadGrid(p.scale, p.zero_point, index(first), p.qmin, p.qmax);
    float position[kChunk];
    if (kUniform) GridPositions(value, grid, position);
    for (int k = 0; k < kChunk; ++k) {
      if (!kUniform) {
        grid = LoadGrid(p.scale, p.zero_point, index(first + k), p.qmin, p.qmax);
        position[k] = GridPosition(value[k], grid);
      }
      const bool kept = p.mask == nullptr || keep.values[k] != 0;
      pack.values[k] = FromFloat<T>(kept ? ValueAt(position[k], grid) : 0.0f);
      if (!kept || !IsInRange(position[k], grid)) byte &= ~(1u << k);
    }
    for (int k = 0; k < kChunk; ++k) y[memory[k]] = pack.values[k];
    p.bits[byte_position] = static_cast<std::uint8_t>(byte);
  }
}

template <typename T>
__global__ void FakeQuantizeBackwardTransposedKernel(FakeQuantizeBackwardArgs p, Walk walk) {
  const auto* grad = static_cast<const T*>(p.grad);
  auto* grad_x = static_cast<T*>(p.grad_x);
  for (std::int64_t item = FirstItem(); item < walk.items; item += ItemStride()) {
    Walk::Position at = walk.At(item);
    const unsigned byte = p.bits[at.byte];
    std::int64_t memory[kChunk];
    Pack<T> pack{};
    for (int k = 0; k < kChunk; ++k) {
      memory[k] = at.pixel * walk.columns + at.column;
      pack.values[k] = grad[memory[k]];
      if (p.activation == ActivationKind::kHardswish) {
        pack.values[k] = HardswishGradient(pack.values[k], static_cast<const T*>(p.x)[memory[k]]);
      }
      at.Advance(walk.rows.divisor());
    }
    for (int k = 0; k < kChunk; ++k) {
      grad_x[memory[k]] = ((byte >> k) & 1u) != 0 ? pack.values[k] : T{};
    }
  }
}

}  // namespace

void fake_quantize_transposed(const FakeQuantizeArgs& args, const TransposedShape& shape,
                              cudaStream_t stream) {
  const QparamIndex index(args.layout);
  const Walk walk(shape);
  const int blocks = GridBlocks(walk.items, MultiprocessorCount());
  VisitFloatType(args.dtype, [&]<typename T>() {
    auto* kernel = index.IsUniform(kChunk) ? &FakeQuantizeTransposedKernel<T, true>
                                           : &FakeQuantizeTransposedKernel<T, false>;
    Launch(kernel, blocks, stream, args, index, walk);
  });
}

void fake_quantize_backward_transposed(const FakeQuantizeBackwardArgs& args,
                                       const TransposedShape& shape, cudaStream_t stream) {
  const Walk walk(shape);
  const int blocks = GridBlocks(walk.items, MultiprocessorCount());
  VisitFloatType(args.dtype, [&]<typename T>() {
    Launch(&FakeQuantizeBackwardTransposedKernel<T>, blocks, stream, args, walk);
  });
}

}  // namespace edgeqat::cuda
