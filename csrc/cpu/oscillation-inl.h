// SPDX-License-Identifier: Apache-2.0
// The loop of oscillation_update; contract in edgeqat/oscillation.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/block-inl.h"
#include "cpu/quantize-inl.h"
#include "edgeqat/oscillation.h"

namespace edgeqat::cpu {

// The one-byte arrays of a block as float32: a loop over one type fills whole vectors.
struct OscillationBlock {
  alignas(64) float code[kBlock];
  alignas(64) float direction[kBlock];
  alignas(64) float frozen[kBlock];
};

template <typename Byte>
EDGEQAT_ALWAYS_INLINE void LoadBytes(const Byte* from, std::int64_t count, float* to) {
  for (std::int64_t j = 0; j < count; ++j) to[j] = static_cast<float>(from[j]);
}

template <typename Byte>
EDGEQAT_ALWAYS_INLINE void StoreBytes(const float* from, std::int64_t count, Byte* to) {
  for (std::int64_t j = 0; j < count; ++j) {
    to[j] = static_cast<Byte>(static_cast<std::int32_t>(from[j]));
  }
}

// A weight tensor is small beside its activations: one loop for every granularity, over arrays.
EDGEQAT_ALWAYS_INLINE void ExpandQParams(BlockQParams& p, std::int64_t count) {
  if (!p.uniform) return;
  for (std::int64_t j = 0; j < count; ++j) {
    p.scales[j] = p.scale;
    p.lows[j] = p.low;
    p.highs[j] = p.high;
  }
}

template <typename T>
EDGEQAT_ALWAYS_INLINE void OscillationUpdateRange(const OscillationUpdateArgs& args,
                                                  std::int64_t begin, std::int64_t end) {
  BlockQParams p;
  OscillationBlock block;
  alignas(64) float buffer[kBlock];
  alignas(64) float result[kBlock];
  T* const weight = static_cast<T*>(args.weight);
  const auto qmin = static_cast<float>(args.qmin);
  const auto qmax = static_cast<float>(args.qmax);
  const float momentum = args.momentum;
  const float threshold = args.freeze_threshold;
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    LoadQParams(args.layout, args.scale, args.zero_point, args.qmin, args.qmax, i, count, p);
    ExpandQParams(p, count);
    LoadBytes(args.codes + i, count, block.code);
    LoadBytes(args.direction + i, count, block.direction);
    LoadBytes(args.frozen + i, count, block.frozen);
    const float* const values = LoadBlock(weight + i, count, buffer);
    float* const out = BlockOutput(weight + i, result);
    float* const frequency = args.frequency + i;
    float* const mean_code = args.mean_code + i;
#pragma GCC ivdep  // every array is read and written at the same place, and none overlaps another
    for (std::int64_t j = 0; j < count; ++j) {
      const float value = values[j];
      const float zero_point = qmin - p.lows[j];
      const float code = QuantizeOne(value, p.scales[j], p.lows[j], p.highs[j]) + zero_point;
      const OscillationState last = {.code = block.code[j],
                                     .direction = block.direction[j],
                                     .frequency = frequency[j],
                                     .mean_code = mean_code[j],
                                     .frozen = block.frozen[j] != 0.0F};
      const OscillationState next = NextOscillation(last, code, qmin, qmax, momentum, threshold);
      block.code[j] = next.code;
      block.direction[j] = next.direction;
      block.frozen[j] = next.frozen ? 1.0F : 0.0F;
      frequency[j] = next.frequency;
      mean_code[j] = next.mean_code;
      out[j] = next.frozen ? (next.code - zero_point) * p.scales[j] : value;
    }
    StoreBytes(block.code, count, args.codes + i);
    StoreBytes(block.direction, count, args.direction + i);
    StoreBytes(block.frozen, count, args.frozen + i);
    StoreBlock(out, count, weight + i);
  }
}

EDGEQAT_ALWAYS_INLINE void OscillationUpdateBody(const OscillationUpdateArgs& args,
                                                 std::int64_t begin, std::int64_t end) {
  switch (args.dtype) {
    case FloatType::kFloat32:
      return OscillationUpdateRange<float>(args, begin, end);
    case FloatType::kFloat16:
      return OscillationUpdateRange<Float16>(args, begin, end);
    case FloatType::kBFloat16:
      return OscillationUpdateRange<BFloat16>(args, begin, end);
  }
}

}  // namespace edgeqat::cpu
