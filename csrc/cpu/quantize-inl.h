// SPDX-License-Identifier: Apache-2.0
// The loops of quantize and dequantize; contract in edgeqat/quantize.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/block-inl.h"
#include "cpu/round-inl.h"
#include "edgeqat/quantize.h"

namespace edgeqat::cpu {

// The code minus the zero point; NaN becomes 0, so its code is the zero point.
EDGEQAT_ALWAYS_INLINE float QuantizeOne(float x, float scale, float low, float high) {
  const float q = RoundHalfEven(Clamp(x / scale, low, high));
  return q == q ? q : 0.0F;
}

template <typename T>
EDGEQAT_ALWAYS_INLINE void QuantizeRange(const QuantizeArgs& args, std::int64_t begin,
                                         std::int64_t end) {
  BlockQParams p;
  alignas(64) float buffer[kBlock];
  alignas(64) float result[kBlock];
  const T* const x = static_cast<const T*>(args.x);
  std::uint8_t* const codes = static_cast<std::uint8_t*>(args.codes);
  const auto qmin = static_cast<float>(args.qmin);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    LoadQParams(args.layout, args.scale, args.zero_point, args.qmin, args.qmax, i, count, p);
    const float* const values = LoadBlock(x + i, count, buffer);
    // zero point = qmin - low, so code = q + (qmin - low): all integers below 2^9, exact in float32
    if (p.uniform) {
      const float scale = p.scale, low = p.low, high = p.high, zero_point = qmin - low;
      for (std::int64_t j = 0; j < count; ++j) {
        result[j] = QuantizeOne(values[j], scale, low, high) + zero_point;
      }
    } else {
      for (std::int64_t j = 0; j < count; ++j) {
        result[j] = QuantizeOne(values[j], p.scales[j], p.lows[j], p.highs[j]) + (qmin - p.lows[j]);
      }
    }
    // through int32: the low byte of a two's complement integer is both the int8 and the uint8 code
    for (std::int64_t j = 0; j < count; ++j) {
      codes[i + j] = static_cast<std::uint8_t>(static_cast<std::int32_t>(result[j]));
    }
  }
}

EDGEQAT_ALWAYS_INLINE void QuantizeBody(const QuantizeArgs& args, std::int64_t begin,
                                        std::int64_t end) {
  switch (args.dtype) {
    case FloatType::kFloat32:
      return QuantizeRange<float>(args, begin, end);
    case FloatType::kFloat16:
      return QuantizeRange<Float16>(args, begin, end);
    case FloatType::kBFloat16:
      return QuantizeRange<BFloat16>(args, begin, end);
  }
}

// With qmin = 0, low = -zero_point: the same parameter loader serves dequantize.
template <typename Code>
EDGEQAT_ALWAYS_INLINE void DequantizeRange(const DequantizeArgs& args, std::int64_t begin,
                                           std::int64_t end) {
  BlockQParams p;
  alignas(64) float values[kBlock];
  const Code* const codes = static_cast<const Code*>(args.codes);
  float* const y = args.y;
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    LoadQParams(args.layout, args.scale, args.zero_point, 0, 0, i, count, p);
    for (std::int64_t j = 0; j < count; ++j) {
      values[j] = static_cast<float>(static_cast<std::int32_t>(codes[i + j]));
    }
    if (p.uniform) {
      const float scale = p.scale, low = p.low;
      for (std::int64_t j = 0; j < count; ++j) y[i + j] = (values[j] + low) * scale;
    } else {
      for (std::int64_t j = 0; j < count; ++j) y[i + j] = (values[j] + p.lows[j]) * p.scales[j];
    }
  }
}

EDGEQAT_ALWAYS_INLINE void DequantizeBody(const DequantizeArgs& args, std::int64_t begin,
                                          std::int64_t end) {
  if (args.is_signed) {
    DequantizeRange<std::int8_t>(args, begin, end);
  } else {
    DequantizeRange<std::uint8_t>(args, begin, end);
  }
}

}  // namespace edgeqat::cpu
