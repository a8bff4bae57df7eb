// SPDX-License-Identifier: Apache-2.0
// The loop of ternary_fake_quantize; contract in edgeqat/ternary_fake_quantize.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/elementary.h"
#include "cpu/block-inl.h"
#include "cpu/magnitude-inl.h"
#include "cpu/ternary_fake_quantize.h"

namespace edgeqat::cpu {

template <typename T>
EDGEQAT_ALWAYS_INLINE void TernaryRange(const TernaryApplyArgs& args, std::int64_t begin,
                                        std::int64_t end) {
  alignas(64) float buffer[kBlock];
  alignas(64) float result[kBlock];
  alignas(64) float thresholds[kBlock];
  alignas(64) float scales[kBlock];
  const TernaryFakeQuantizeArgs& tensors = args.tensors;
  const T* const x = static_cast<const T*>(tensors.x);
  T* const y = static_cast<T*>(tensors.y);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    ExpandPerScale(tensors.layout, args.threshold, i, count, thresholds);
    ExpandPerScale(tensors.layout, tensors.scale, i, count, scales);
    const float* const values = LoadBlock(x + i, count, buffer);
    float* const out = BlockOutput(y + i, result);
#pragma GCC ivdep  // y is x itself or does not overlap it
    for (std::int64_t j = 0; j < count; ++j) {
      const float v = values[j];
      const float m = Magnitude(v);
      const float code = m > thresholds[j] ? WithSign(scales[j], v) : 0.0F;
      out[j] = v == v ? code : v;
    }
    if (tensors.mask != nullptr) {
      const std::uint8_t* const mask = tensors.mask + i;
      for (std::int64_t j = 0; j < count; ++j) out[j] = mask[j] != 0 ? out[j] : 0.0F;
    }
    StoreBlock(out, count, y + i);
  }
}

EDGEQAT_ALWAYS_INLINE void TernaryFakeQuantizeBody(const TernaryApplyArgs& args, std::int64_t begin,
                                                   std::int64_t end) {
  switch (args.tensors.dtype) {
    case FloatType::kFloat32:
      return TernaryRange<float>(args, begin, end);
    case FloatType::kFloat16:
      return TernaryRange<Float16>(args, begin, end);
    case FloatType::kBFloat16:
      return TernaryRange<BFloat16>(args, begin, end);
  }
}

}  // namespace edgeqat::cpu
