// SPDX-License-Identifier: Apache-2.0
// The loops of per_token_fake_quantize; contract in edgeqat/per_token_fake_quantize.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "cpu/block-inl.h"
#include "cpu/observer-inl.h"
#include "cpu/round-inl.h"
#include "edgeqat/per_token_fake_quantize.h"
#include "edgeqat/qparams.h"

namespace edgeqat::cpu {

template <typename T>
EDGEQAT_ALWAYS_INLINE QParams ChooseForRow(const PerTokenFakeQuantizeArgs& args, const T* x) {
  alignas(64) float buffer[kBlock];
  std::int32_t smallest = kInfKey;
  std::int32_t largest = kNegInfKey;
  for (std::int64_t i = 0; i < args.width; i += kBlock) {
    const std::int64_t count = std::min(kBlock, args.width - i);
    const float* const values = LoadBlock(x + i, count, buffer);
    for (std::int64_t j = 0; j < count; ++j) {
      // in this order the finite values lie between -inf and +inf, NaN of either sign beyond them
      const std::int32_t key = OrderKey(std::bit_cast<std::int32_t>(values[j]));
      const std::int32_t low = key <= kNegInfKey ? kInfKey : key;
      const std::int32_t high = key >= kInfKey ? kNegInfKey : key;
      smallest = low < smallest ? low : smallest;
      largest = high > largest ? high : largest;
    }
  }
  // adding +0 turns -0 into +0, as the observer does
  const float min = std::bit_cast<float>(OrderKey(smallest)) + 0.0F;
  const float max = std::bit_cast<float>(OrderKey(largest)) + 0.0F;
  return ChooseQParams(min, max, args.qmin, args.qmax, args.symmetric);
}

template <typename T>
EDGEQAT_ALWAYS_INLINE void PerTokenRange(const PerTokenFakeQuantizeArgs& args, std::int64_t begin,
                                         std::int64_t end) {
  alignas(64) float buffer[kBlock];
  alignas(64) float result[kBlock];
  for (std::int64_t row = begin; row < end; ++row) {
    const T* const x = static_cast<const T*>(args.x) + row * args.width;
    T* const y = static_cast<T*>(args.y) + row * args.width;
    const QParams qparams = ChooseForRow(args, x);
    const float scale = qparams.scale;
    const auto low = static_cast<float>(args.qmin - qparams.zero_point);
    const auto high = static_cast<float>(args.qmax - qparams.zero_point);
    for (std::int64_t i = 0; i < args.width; i += kBlock) {
      const std::int64_t count = std::min(kBlock, args.width - i);
      const float* const values = LoadBlock(x + i, count, buffer);
      float* const out = BlockOutput(y + i, result);
#pragma GCC ivdep  // y is x itself or does not overlap it
      for (std::int64_t j = 0; j < count; ++j) {
        out[j] = RoundHalfEven(Clamp(values[j] / scale, low, high)) * scale;
      }
      StoreBlock(out, count, y + i);
    }
  }
}

EDGEQAT_ALWAYS_INLINE void PerTokenFakeQuantizeBody(const PerTokenFakeQuantizeArgs& args,
                                                    std::int64_t begin, std::int64_t end) {
  switch (args.dtype) {
    case FloatType::kFloat32:
      return PerTokenRange<float>(args, begin, end);
    case FloatType::kFloat16:
      return PerTokenRange<Float16>(args, begin, end);
    case FloatType::kBFloat16:
      return PerTokenRange<BFloat16>(args, begin, end);
  }
}

}  // namespace edgeqat::cpu
