// SPDX-License-Identifier: Apache-2.0
// The loops of fake_quantize and fake_quantize_backward; contract in edgeqat/fake_quantize.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "cpu/bits-inl.h"
#include "cpu/block-inl.h"
#include "cpu/round-inl.h"
#include "edgeqat/fake_quantize.h"

namespace edgeqat::cpu {

EDGEQAT_ALWAYS_INLINE float FakeQuantizeOne(float x, float scale, float low, float high) {
  return RoundHalfEven(Clamp(x / scale, low, high)) * scale;
}

// What relu and relu6 do to a quantizer: values up to 0 and from `top` on have no gradient.
struct ActivationClamp {
  bool active = false;
  float top = std::numeric_limits<float>::infinity();
};

EDGEQAT_ALWAYS_INLINE ActivationClamp ClampOf(ActivationKind kind) {
  if (kind == ActivationKind::kRelu6) return {true, 6.0F};
  return {kind == ActivationKind::kRelu, std::numeric_limits<float>::infinity()};
}

// The clamp itself costs nothing: dividing and rounding keep the order of values, so a clamp of x
// to [0, top] is one of the code to [0, round(top / scale)] around the zero point.
EDGEQAT_ALWAYS_INLINE void LimitByActivation(const ActivationClamp& clamp, std::int64_t count,
                                             BlockQParams& p) {
  if (!clamp.active) return;
  const float top = clamp.top;
  if (p.uniform) {
    p.low = p.low < 0.0F ? 0.0F : p.low;
    p.high = RoundHalfEven(Clamp(top / p.scale, p.low, p.high));
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    p.lows[i] = p.lows[i] < 0.0F ? 0.0F : p.lows[i];
    p.highs[i] = RoundHalfEven(Clamp(top / p.scales[i], p.lows[i], p.highs[i]));
  }
}

// The block as float32 with hardswish applied, which no clamp can stand for.
template <typename T>
EDGEQAT_ALWAYS_INLINE const float* LoadActivated(ActivationKind kind, const T* x,
                                                 std::int64_t count, float* buffer) {
  const float* const values = LoadBlock(x, count, buffer);
  if (kind != ActivationKind::kHardswish) return values;
  for (std::int64_t i = 0; i < count; ++i) {
    buffer[i] = Activate<ActivationKind::kHardswish>(values[i]);
  }
  return buffer;
}

// One step wider than the range tells saturated from in range, and NaN compares false: it counts as
// in range. kTop: values outside (0, top) get no flag either.
template <bool kTop>
EDGEQAT_ALWAYS_INLINE float FakeQuantizeOne(float x, float scale, float low, float high, float top,
                                            std::uint8_t* flag) {
  const float wide = RoundHalfEven(Clamp(x / scale, low - 1.0F, high + 1.0F));
  const float q = Clamp(wide, low, high);
  bool out = q < wide || q > wide;
  if constexpr (kTop) out = out || x <= 0.0F || x >= top;
  *flag = static_cast<std::uint8_t>(!out);
  return q * scale;
}

template <bool kFlags, bool kTop = false>
EDGEQAT_ALWAYS_INLINE void FakeQuantizeBlock(const float* x, const BlockQParams& p, float top,
                                             std::int64_t count, float* y, std::uint8_t* flags) {
  if (p.uniform) {
    const float scale = p.scale, low = p.low, high = p.high;
#pragma GCC ivdep  // y is x itself or does not overlap it
    for (std::int64_t i = 0; i < count; ++i) {
      if constexpr (kFlags) {
        y[i] = FakeQuantizeOne<kTop>(x[i], scale, low, high, top, &flags[i]);
      } else {
        y[i] = FakeQuantizeOne(x[i], scale, low, high);
      }
    }
    return;
  }
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    if constexpr (kFlags) {
      y[i] = FakeQuantizeOne<kTop>(x[i], p.scales[i], p.lows[i], p.highs[i], top, &flags[i]);
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

// Sees a block's values, hardswish applied, before they are quantized, and their mask or null; here
// nothing looks.
struct NoObserver {
  EDGEQAT_ALWAYS_INLINE void operator()(const float* /*x*/, const std::uint8_t* /*mask*/,
                                        std::int64_t /*count*/, const ActivationClamp& /*clamp*/) {}
};

template <typename T, bool kFlags, typename Observer>
EDGEQAT_ALWAYS_INLINE void FakeQuantizeRange(const FakeQuantizeArgs& args, std::int64_t begin,
                                             std::int64_t end, Observer& observe) {
  BlockQParams qparams;
  alignas(64) float buffer[kBlock];
  alignas(64) float result[kBlock];
  alignas(64) std::uint8_t flags[kBlock] = {};
  const T* const x = static_cast<const T*>(args.x);
  T* const y = static_cast<T*>(args.y);
  const ActivationClamp clamp = ClampOf(args.activation);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    LoadQParams(args.layout, args.scale, args.zero_point, args.qmin, args.qmax, i, count, qparams);
    LimitByActivation(clamp, count, qparams);
    const float* const in = LoadActivated(args.activation, x + i, count, buffer);
    observe(in, args.mask == nullptr ? nullptr : args.mask + i, count, clamp);
    float* const out = BlockOutput(y + i, result);
    if (kFlags && clamp.active) {
      FakeQuantizeBlock<kFlags, true>(in, qparams, clamp.top, count, out, flags);
    } else {
      FakeQuantizeBlock<kFlags>(in, qparams, clamp.top, count, out, flags);
    }
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
  NoObserver nobody;
  if (args.bits != nullptr) {
    FakeQuantizeRange<T, true>(args, begin, end, nobody);
  } else {
    FakeQuantizeRange<T, false>(args, begin, end, nobody);
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

// out[i] = bit i of bits ? value[i] : 0. Selecting bit patterns keeps NaN payloads and serves both
// 16-bit types with one loop. A byte of bits stands for eight elements: copy it into eight lanes,
// keep bit j in lane j, and compare with 0. These are the compiler's portable vectors, one or two
// registers on every instruction set. out may be value.
template <typename Word>
EDGEQAT_ALWAYS_INLINE void SelectByBits(const Word* value, const std::uint8_t* bits,
                                        std::int64_t count, Word* out) {
  using Lanes [[gnu::vector_size(8 * sizeof(Word))]] = Word;
  constexpr Lanes kBit = {1, 2, 4, 8, 16, 32, 64, 128};
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    Lanes lanes;
    std::memcpy(&lanes, value + i, sizeof(lanes));
    lanes &= reinterpret_cast<Lanes>((kBit & static_cast<Word>(bits[i / 8])) != 0);
    std::memcpy(out + i, &lanes, sizeof(lanes));
  }
  for (; i < count; ++i) out[i] = ((bits[i / 8] >> (i % 8)) & 1) != 0 ? value[i] : Word{0};
}

template <typename Word>
EDGEQAT_ALWAYS_INLINE void FakeQuantizeBackwardRange(const FakeQuantizeBackwardArgs& args,
                                                     std::int64_t begin, std::int64_t end) {
  SelectByBits(static_cast<const Word*>(args.grad) + begin, args.bits + begin / 8, end - begin,
               static_cast<Word*>(args.grad_x) + begin);
}

// grad * hardswish'(x), then the selection.
template <typename T>
EDGEQAT_ALWAYS_INLINE void HardswishBackwardRange(const FakeQuantizeBackwardArgs& args,
                                                  std::int64_t begin, std::int64_t end) {
  using Word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint16_t>;
  alignas(64) float x_buffer[kBlock];
  alignas(64) float grad_buffer[kBlock];
  alignas(64) Word product[kBlock];
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    const float* const x = LoadBlock(static_cast<const T*>(args.x) + i, count, x_buffer);
    const float* const grad = LoadBlock(static_cast<const T*>(args.grad) + i, count, grad_buffer);
    for (std::int64_t j = 0; j < count; ++j) {
      grad_buffer[j] = ActivationGradient<ActivationKind::kHardswish>(grad[j], x[j]);
    }
    for (std::int64_t j = 0; j < count; ++j) {
      T rounded;
      FromFloat(grad_buffer[j], &rounded);
      product[j] = std::bit_cast<Word>(rounded);
    }
    SelectByBits(product, args.bits + i / 8, count, static_cast<Word*>(args.grad_x) + i);
  }
}

EDGEQAT_ALWAYS_INLINE void FakeQuantizeBackwardBody(const FakeQuantizeBackwardArgs& args,
                                                    std::int64_t begin, std::int64_t end) {
  if (args.activation == ActivationKind::kHardswish) {
    switch (args.dtype) {
      case FloatType::kFloat32:
        return HardswishBackwardRange<float>(args, begin, end);
      case FloatType::kFloat16:
        return HardswishBackwardRange<Float16>(args, begin, end);
      case FloatType::kBFloat16:
        return HardswishBackwardRange<BFloat16>(args, begin, end);
    }
  }
  if (args.dtype == FloatType::kFloat32) {
    FakeQuantizeBackwardRange<std::uint32_t>(args, begin, end);
  } else {
    FakeQuantizeBackwardRange<std::uint16_t>(args, begin, end);
  }
}

}  // namespace edgeqat::cpu
