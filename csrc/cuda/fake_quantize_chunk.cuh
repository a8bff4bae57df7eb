// SPDX-License-Identifier: Apache-2.0
// One thread's work of fake_quantize: eight elements and their byte of bits.
#pragma once

#include "cuda/activation_rule.h"
#include "cuda/float_types.h"
#include "cuda/launch.cuh"
#include "cuda/qparam_index.h"
#include "cuda/quantize_rule.h"
#include "edgeqat/fake_quantize.h"

namespace edgeqat::cuda {

// A thread owns a chunk of eight elements and so the whole byte of their bits: no two threads
// write the same byte. kUniform: the chunk has one scale. `see` is shown every activated value that
// the mask keeps.
template <typename T, bool kUniform, typename See>
__device__ inline void FakeQuantizeChunk(const FakeQuantizeArgs& p, const QparamIndex& index,
                                         std::int64_t first, std::int64_t n, bool aligned,
                                         See see) {
  const int count = ChunkCount(first, n);
  const bool whole = aligned && count == kChunk;
  const auto in = LoadPack(static_cast<const T*>(p.x), first, count, whole);
  Pack<std::uint8_t> keep{};
  if (p.mask != nullptr) keep = LoadPack(p.mask, first, count, whole);
  float value[kChunk];
  for (int k = 0; k < kChunk; ++k) value[k] = ToFloat(in.values[k]);
  // beyond `count` there are zeros, which no branch for each element leaves out: their bits are
  // dropped at the end, and any index has a scale
  unsigned byte = ActivateAll(p.activation, value) & ((1u << count) - 1u);
  for (int k = 0; k < kChunk; ++k) {
    if (k < count && (p.mask == nullptr || keep.values[k] != 0)) see(value[k]);
  }
  Grid grid = LoadGrid(p.scale, p.zero_point, index(first), p.qmin, p.qmax);
  float position[kChunk];
  if (kUniform) GridPositions(value, grid, position);
  Pack<T> out{};
  for (int k = 0; k < kChunk; ++k) {
    if (!kUniform) {
      grid = LoadGrid(p.scale, p.zero_point, index(first + k), p.qmin, p.qmax);
      position[k] = GridPosition(value[k], grid);
    }
    out.values[k] = FromFloat<T>(ValueAt(position[k], grid));
    if (!IsInRange(position[k], grid)) byte &= ~(1u << k);
  }
  if (p.mask != nullptr) {
    for (int k = 0; k < kChunk; ++k) {
      if (keep.values[k] != 0) continue;
      out.values[k] = T{};
      byte &= ~(1u << k);
    }
  }
  StorePack(static_cast<T*>(p.y), first, count, whole, out);
  if (p.bits != nullptr) p.bits[first / kChunk] = static_cast<std::uint8_t>(byte);
}

}  // namespace edgeqat::cuda
