// SPDX-License-Identifier: Apache-2.0
// The loops of fake_quantize and fake_quantize_backward; contract in edgeqat/fake_quantize.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/bits-inl.h"
#include "cpu/block-inl.h"
#include "cpu/round-inl.h"
#include "edgeqat/fake_quantize.h"

namespace edgeqat::cpu {

EDGEQAT_ALWAYS_INLINE float FakeQuantizeOne(float x, float scale, float low, float high) {
  return RoundHalfEven(Clamp(x / scale, low, high)) * scale;
}

// One step wider than the range tells saturated from in range, and NaN compares false: it counts as
// in range.
EDGEQAT_ALWAYS_INLINE float FakeQuantizeOne(float x, float scale, float low, float high,
                                            std::uint8_t* flag) {
  const float wide = RoundHalfEven(Clamp(x / scale, low - 1.0F, high + 1.0F));
  const float q = Clamp(wide, low, high);
  *flag = static_cast<std::uint8_t>(!(q < wide || q > wide));
  return q * scale;
}

template <bool kFlags>
EDGEQAT_ALWAYS_INLINE void FakeQuantizeBlock(const float* x, const BlockQParams& p,
                                             std::int64_t count, float* y, std::uint8_t* flags) {
  if (p.uniform) {
    const float scale = p.scale, low = p.low, high = p.high;
#pragma GCC ivdep  // y is x itself or does not overlap it
    for (std::int64_t i = 0; i < count; ++i) {
      if constexpr (kFlags) {
        y[i] = FakeQuantizeOne(x[i], scale, low, high, &flags[i]);
      } else {
        y[i] = FakeQuantizeOne(x[i], scale, low, high);
      }
    }
    return;
  }
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    if constexpr (kFlags) {
      y[i] = FakeQuantizeOne(x[i], p.scales[i], p.lows[i], p.highs[i], &flags[i]);
    } else {
      y[i] = FakeQuantizeOne(x[i], p.scales[i], p.lows[i], p.highs[i]);
    }
  }
}

// A pruned element is +0 even if x was NaN, so this selects instead of multiplying.
EDGEQAT_ALWAYS_INLINE void MaskBlock(const std::uint8_t* mask, std::int64_t count, float* y,
                                     std::uint8_t* flags) {
  for (std::int64_t i = 0; i < count; ++i) {
    y[i] = mask[i] != 0 ? y[i] : 0.0F;
    flags[i] = static_cast<std::uint8_t>(mask[i] != 0 ? flags[i] : 0);
  }
}

template <typename T, bool kFlags>
EDGEQAT_ALWAYS_INLINE void FakeQuantizeRange(const FakeQuantizeArgs& args, std::int64_t begin,
                                             std::int64_t end) {
  BlockQParams qparams;
  alignas(64) float buffer[kBlock];
  alignas(64) float result[kBlock];
  alignas(64) std::uint8_t flags[kBlock] = {};
  const T* const x = static_cast<const T*>(args.x);
  T* const y = static_cast<T*>(args.y);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    LoadQParams(args.layout, args.scale, args.zero_point, args.qmin, args.qmax, i, count, qparams);
    float* const out = BlockOutput(y + i, result);
    FakeQuantizeBlock<kFlags>(LoadBlock(x + i, count, buffer), qparams, count, out, flags);
    if (args.mask != nullptr) MaskBlock(args.mask + i, count, out, flags);
    StoreBlock(out, count, y + i);
    if constexpr (kFlags) {
      for (std::int64_t j = count; j % 8 != 0; ++j)
        flags[j] = 0;  // the spare bits of the last byte
      PackFlags(flags, count, args.bits + i / 8);
    }
  }
}

template <typename T>
EDGEQAT_ALWAYS_INLINE void FakeQuantizeTyped(const FakeQuantizeArgs& args, std::int64_t begin,
                                             std::int64_t end) {
  if (args.bits != nullptr) {
    FakeQuantizeRange<T, true>(args, begin, end);
  } else {
    FakeQuantizeRange<T, false>(args, begin, end);
  }
}

EDGEQAT_ALWAYS_INLINE void FakeQuantizeBody(const FakeQuantizeArgs& args, std::int64_t begin,
                                            std::int64_t end) {
  switch (args.dtype) {
    case FloatType::kFloat32:
      return FakeQuantizeTyped<float>(args, begin, end);
    case FloatType::kFloat16:
      return FakeQuantizeTyped<Float16>(args, begin, end);
    case FloatType::kBFloat16:
      return FakeQuantizeTyped<BFloat16>(args, begin, end);
  }
}

// Selecting bit patterns keeps NaN payloads and serves both 16-bit types with one loop. A byte of
// bits stands for eight elements: copy it into eight lanes, keep bit j in lane j, and compare with
// 0. These are the compiler's portable vectors, one or two registers on every instruction set.
template <typename Word>
EDGEQAT_ALWAYS_INLINE void FakeQuantizeBackwardRange(const FakeQuantizeBackwardArgs& args,
                                                     std::int64_t begin, std::int64_t end) {
  using Lanes [[gnu::vector_size(8 * sizeof(Word))]] = Word;
  constexpr Lanes kBit = {1, 2, 4, 8, 16, 32, 64, 128};
  const Word* const grad = static_cast<const Word*>(args.grad);
  Word* const grad_x = static_cast<Word*>(args.grad_x);
  std::int64_t i = begin;
  for (; i + 8 <= end; i += 8) {
    Lanes value;
    std::memcpy(&value, grad + i, sizeof(value));
    value &= reinterpret_cast<Lanes>((kBit & static_cast<Word>(args.bits[i / 8])) != 0);
    std::memcpy(grad_x + i, &value, sizeof(value));
  }
  for (; i < end; ++i) {
    grad_x[i] = ((args.bits[i / 8] >> (i % 8)) & 1) != 0 ? grad[i] : Word{0};
  }
}

EDGEQAT_ALWAYS_INLINE void FakeQuantizeBackwardBody(const FakeQuantizeBackwardArgs& args,
                                                    std::int64_t begin, std::int64_t end) {
  if (args.dtype == FloatType::kFloat32) {
    FakeQuantizeBackwardRange<std::uint32_t>(args, begin, end);
  } else {
    FakeQuantizeBackwardRange<std::uint16_t>(args, begin, end);
  }
}

}  // namespace edgeqat::cpu
