// SPDX-License-Identifier: Apache-2.0
// The loops of lsq_fake_quantize and its two backward passes; contract in
// edgeqat/lsq_fake_quantize.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "cpu/block-inl.h"
#include "cpu/gradient_sums-inl.h"
#include "cpu/lsq_fake_quantize.h"
#include "cpu/round-inl.h"

namespace edgeqat::cpu {

// One block of a tensor of any float type as float32. The type is asked once a block of 512, so
// that the loops exist once for all three.
EDGEQAT_ALWAYS_INLINE const float* LoadFloats(FloatType type, const void* source,
                                              std::int64_t begin, std::int64_t count,
                                              float* buffer) {
  switch (type) {
    case FloatType::kFloat16:
      return LoadBlock(static_cast<const Float16*>(source) + begin, count, buffer);
    case FloatType::kBFloat16:
      return LoadBlock(static_cast<const BFloat16*>(source) + begin, count, buffer);
    default:
      return static_cast<const float*>(source) + begin;
  }
}
EDGEQAT_ALWAYS_INLINE float* FloatsOutput(FloatType type, void* target, std::int64_t begin,
                                          float* buffer) {
  return type == FloatType::kFloat32 ? static_cast<float*>(target) + begin : buffer;
}
EDGEQAT_ALWAYS_INLINE void StoreFloats(FloatType type, const float* values, std::int64_t begin,
                                       std::int64_t count, void* target) {
  if (type == FloatType::kFloat16) {
    StoreBlock(values, count, static_cast<Float16*>(target) + begin);
  } else if (type == FloatType::kBFloat16) {
    StoreBlock(values, count, static_cast<BFloat16*>(target) + begin);
  }
}

// Asks for the block after the next one: the processor follows a stream within a page of 4 KiB by
// itself, but not into the next page, and a block is half a page of float32. Backward of 4.2
// million values takes 0.35 ns each instead of 0.43.
EDGEQAT_ALWAYS_INLINE void PrefetchAhead(const void* data, std::int64_t element_size,
                                         std::int64_t begin) {
  const char* const ahead = static_cast<const char*>(data) + (begin + 2 * kBlock) * element_size;
  for (std::int64_t byte = 0; byte < kBlock * element_size; byte += 64) {
    __builtin_prefetch(ahead + byte);
  }
}

template <ActivationKind kKind>
EDGEQAT_ALWAYS_INLINE const float* ActivateLoop(const float* x, std::int64_t count, float* buffer) {
  for (std::int64_t i = 0; i < count; ++i) buffer[i] = Activate<kKind>(x[i]);
  return buffer;
}
EDGEQAT_ALWAYS_INLINE const float* ActivateFloats(ActivationKind kind, const float* x,
                                                  std::int64_t count, float* buffer) {
  switch (kind) {
    case ActivationKind::kRelu:
      return ActivateLoop<ActivationKind::kRelu>(x, count, buffer);
    case ActivationKind::kRelu6:
      return ActivateLoop<ActivationKind::kRelu6>(x, count, buffer);
    case ActivationKind::kHardswish:
      return ActivateLoop<ActivationKind::kHardswish>(x, count, buffer);
    default:
      return x;
  }
}

// The step and the limits of element i: of the whole block, or its own.
template <bool kUniform>
struct StepOf {
  const BlockQParams& p;
  float scale = p.scale, low = p.low, high = p.high;

  EDGEQAT_ALWAYS_INLINE float step(std::int64_t i) const { return kUniform ? scale : p.scales[i]; }
  EDGEQAT_ALWAYS_INLINE float lowest(std::int64_t i) const { return kUniform ? low : p.lows[i]; }
  EDGEQAT_ALWAYS_INLINE float highest(std::int64_t i) const { return kUniform ? high : p.highs[i]; }
};

// y and the residual, a byte that stands alone in 32 bits. Clamping one step wider
// than the range keeps wide - v the residual of all that is in range. Adding 1.5 * 2^23 rounds half
// to even and leaves the integer in the low bits.
template <bool kUniform>
EDGEQAT_ALWAYS_INLINE void LsqTrainBlock(const float* a, const BlockQParams& p, float levels,
                                         std::int64_t count, float* y, std::int32_t* residual) {
  const StepOf<kUniform> at{p};
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const float step = at.step(i), low = at.lowest(i), high = at.highest(i);
    const float v = a[i] / step;
    const float wide = RoundHalfEven(Clamp(v, low - 1.0F, high + 1.0F));
    const float q = Clamp(wide, low, high);
    const float r = (wide - v) * levels;
    const float finite = wide == wide ? r : 0.0F;
    const float upper = v > high ? static_cast<float>(kResidualHigh) : finite;
    const float code = v < low ? static_cast<float>(kResidualLow) : upper;
    y[i] = q * step;
    residual[i] = std::bit_cast<std::int32_t>(code + 0x1.8p23F);
  }
}

// The low byte of each word: a loop of its own, which the compiler packs 4 to 8 times as fast.
EDGEQAT_ALWAYS_INLINE void NarrowToBytes(const std::int32_t* words, std::int64_t count,
                                         std::int8_t* bytes) {
  for (std::int64_t i = 0; i < count; ++i) bytes[i] = static_cast<std::int8_t>(words[i]);
}

// Marks what gives no gradient for x although it is in range.
EDGEQAT_ALWAYS_INLINE void MarkActivation(ActivationKind kind, const float* x, std::int64_t count,
                                          std::int8_t* residual) {
  if (kind == ActivationKind::kNone) return;
  for (std::int64_t i = 0; i < count; ++i) {
    residual[i] = x[i] <= 0.0F ? kResidualDead : residual[i];
  }
  if (kind != ActivationKind::kRelu6) return;
  for (std::int64_t i = 0; i < count; ++i) {
    const bool saturated = x[i] >= 6.0F && residual[i] != kResidualHigh;
    residual[i] = saturated ? kResidualSaturated : residual[i];
  }
}

EDGEQAT_ALWAYS_INLINE void LsqTrainBody(const LsqTrainArgs& args, std::int64_t begin,
                                        std::int64_t end) {
  const FakeQuantizeArgs& grid = args.grid;
  BlockQParams p;
  alignas(64) float loaded[kBlock];
  alignas(64) float activated[kBlock];
  alignas(64) float result[kBlock];
  alignas(64) std::int32_t words[kBlock];
  const float levels = ResidualLevels(grid.activation);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    LoadQParams(grid.layout, grid.scale, grid.zero_point, grid.qmin, grid.qmax, i, count, p);
    PrefetchAhead(grid.x, SizeOf(grid.dtype), i);
    const float* const x = LoadFloats(grid.dtype, grid.x, i, count, loaded);
    // y may be x, so what the marks need of x is looked at before y is written
    const float* const a = ActivateFloats(grid.activation, x, count, activated);
    float* const y = FloatsOutput(grid.dtype, grid.y, i, result);
    std::int8_t* const residual = args.residual + i;
    const bool keep = grid.activation != ActivationKind::kNone && y == x;
    if (keep) std::copy(x, x + count, loaded);
    if (p.uniform) {
      LsqTrainBlock<true>(a, p, levels, count, y, words);
    } else {
      LsqTrainBlock<false>(a, p, levels, count, y, words);
    }
    NarrowToBytes(words, count, residual);
    MarkActivation(grid.activation, keep ? loaded : x, count, residual);
    if (grid.mask != nullptr) {
      const std::uint8_t* const mask = grid.mask + i;
      for (std::int64_t j = 0; j < count; ++j) {
        y[j] = mask[j] != 0 ? y[j] : 0.0F;
        residual[j] = mask[j] != 0 ? residual[j] : kResidualDead;
      }
    }
    StoreFloats(grid.dtype, y, i, count, grid.y);
  }
}

// What the loops of backward write besides grad_x: the terms of the sums.
struct GradientTerms {
  alignas(64) float step[kBlock];
  alignas(64) float offset[kBlock];
};

// kShaped: with delta or damping. kOffset: the offset's terms are wanted.
template <bool kUniform, bool kShaped, bool kOffset>
EDGEQAT_ALWAYS_INLINE void LsqBackwardBlock(const LsqBackwardArgs& args, const float* g,
                                            const float* a, const BlockQParams& p,
                                            std::int64_t count, float* grad_x,
                                            GradientTerms& terms) {
  const StepOf<kUniform> at{p};
  const auto qmin = static_cast<float>(args.qmin);
  const auto qmax = static_cast<float>(args.qmax);
  const float weight = args.residual_weight, delta = args.delta, damping = args.damping;
#pragma GCC ivdep  // grad_x is g itself or does not overlap it
  for (std::int64_t i = 0; i < count; ++i) {
    const float step = at.step(i), low = at.lowest(i), high = at.highest(i);
    const float v = a[i] / step;
    const float wide = RoundHalfEven(Clamp(v, low - 1.0F, high + 1.0F));
    const float r = wide - v;
    const float gradient = g[i];
    const float upper = v > high ? qmax : r * weight;
    const float term = gradient * (v < low ? qmin : upper);
    float inside = gradient;
    if constexpr (kShaped) {
      const float magnitude = __builtin_fabsf(gradient);
      inside = (gradient - magnitude * (r * delta)) + damping * (a[i] - wide * step);
    }
    const float below = v < low ? 0.0F : inside;
    if constexpr (kOffset) {
      const float above = v > high ? gradient : 0.0F;
      terms.offset[i] = v < low ? gradient : above;
    }
    terms.step[i] = term;
    grad_x[i] = v > high ? 0.0F : below;
  }
}

template <bool kShaped, bool kOffset>
EDGEQAT_ALWAYS_INLINE void LsqCompactBackwardBlock(const LsqBackwardArgs& args, const float* g,
                                                   const std::int8_t* residual, std::int64_t count,
                                                   float* grad_x, GradientTerms& terms) {
  const auto qmin = static_cast<float>(args.qmin);
  const auto qmax = static_cast<float>(args.qmax);
  const float unit = 1.0F / ResidualLevels(args.activation);
  const float weight = args.residual_weight, delta = args.delta;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const auto k = static_cast<float>(static_cast<std::int32_t>(residual[i]));
    const float gradient = g[i];
    const float r = k * unit;
    const float upper = k > 126.0F ? qmax : r * weight;
    const float factor = k < -127.0F ? qmin : upper;
    float inside = gradient;
    if constexpr (kShaped) {
      const float magnitude = __builtin_fabsf(gradient);
      inside = gradient - magnitude * (r * delta);
    }
    const float alive = k == -127.0F ? 0.0F : gradient;
    if constexpr (kOffset) {
      const float above = k > 126.0F ? gradient : 0.0F;
      terms.offset[i] = k < -127.0F ? gradient : above;
    }
    terms.step[i] = alive * factor;
    const float below = k < -126.0F ? 0.0F : inside;
    grad_x[i] = k > 126.0F ? 0.0F : below;
  }
}

// Adding +0 keeps the +0 of clipped elements, which a negative slope of hardswish makes -0.
template <ActivationKind kKind>
EDGEQAT_ALWAYS_INLINE void ChainLoop(const float* x, std::int64_t count, float* grad_x) {
  for (std::int64_t i = 0; i < count; ++i) {
    grad_x[i] = ActivationGradient<kKind>(grad_x[i], x[i]) + 0.0F;
  }
}
EDGEQAT_ALWAYS_INLINE void ChainActivation(ActivationKind kind, const float* x, std::int64_t count,
                                           float* grad_x) {
  switch (kind) {
    case ActivationKind::kRelu:
      return ChainLoop<ActivationKind::kRelu>(x, count, grad_x);
    case ActivationKind::kRelu6:
      return ChainLoop<ActivationKind::kRelu6>(x, count, grad_x);
    case ActivationKind::kHardswish:
      return ChainLoop<ActivationKind::kHardswish>(x, count, grad_x);
    default:
      return;
  }
}

EDGEQAT_ALWAYS_INLINE void MaskGradients(const std::uint8_t* mask, std::int64_t count,
                                         float* grad_x, GradientTerms& terms, bool with_offset) {
  for (std::int64_t i = 0; i < count; ++i) {
    grad_x[i] = mask[i] != 0 ? grad_x[i] : 0.0F;
    terms.step[i] = mask[i] != 0 ? terms.step[i] : 0.0F;
  }
  if (!with_offset) return;
  for (std::int64_t i = 0; i < count; ++i) {
    terms.offset[i] = mask[i] != 0 ? terms.offset[i] : 0.0F;
  }
}

// Elements [begin, end), which are a piece of SumPieces; adds to step_sums and, where it is not
// null, offset_sums.
template <bool kShaped, bool kOffset>
EDGEQAT_ALWAYS_INLINE void LsqBackwardPiece(const LsqBackwardArgs& args, std::int64_t begin,
                                            std::int64_t end, double* step_sums,
                                            double* offset_sums) {
  BlockQParams p;
  GradientTerms terms;
  alignas(64) float loaded_grad[kBlock];
  alignas(64) float loaded_x[kBlock];
  alignas(64) float activated[kBlock];
  alignas(64) float result[kBlock];
  SumCursor steps(args.layout, begin), offsets = steps;
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    LoadQParams(args.layout, args.step, args.zero_point, args.qmin, args.qmax, i, count, p);
    PrefetchAhead(args.grad, SizeOf(args.dtype), i);
    PrefetchAhead(args.x, SizeOf(args.dtype), i);
    const float* const g = LoadFloats(args.dtype, args.grad, i, count, loaded_grad);
    const float* const x = LoadFloats(args.dtype, args.x, i, count, loaded_x);
    const float* const a = ActivateFloats(args.activation, x, count, activated);
    float* const grad_x = FloatsOutput(args.dtype, args.grad_x, i, result);
    if (p.uniform) {
      LsqBackwardBlock<true, kShaped, kOffset>(args, g, a, p, count, grad_x, terms);
    } else {
      LsqBackwardBlock<false, kShaped, kOffset>(args, g, a, p, count, grad_x, terms);
    }
    ChainActivation(args.activation, x, count, grad_x);
    if (args.mask != nullptr) MaskGradients(args.mask + i, count, grad_x, terms, kOffset);
    steps.Add(terms.step, count, step_sums);
    if constexpr (kOffset) offsets.Add(terms.offset, count, offset_sums);
    StoreFloats(args.dtype, grad_x, i, count, args.grad_x);
  }
}

// The elements at which relu6 is saturated within the range: nothing for x, r of the value 6.
template <bool kUniform>
EDGEQAT_ALWAYS_INLINE void SaturatedTerms(const LsqBackwardArgs& args, const float* g,
                                          const std::int8_t* residual, const BlockQParams& p,
                                          std::int64_t count, float* grad_x, GradientTerms& terms) {
  const StepOf<kUniform> at{p};
  const float weight = args.residual_weight;
  float* const step_terms = terms.step;
#pragma GCC ivdep  // g was copied if it is grad_x
  for (std::int64_t i = 0; i < count; ++i) {
    const float v = 6.0F / at.step(i);
    // in range, so |v| < 512; elsewhere the value is not used
    const float r = (RoundHalfEven(Clamp(v, -512.0F, 512.0F)) - v) * weight;
    const auto k = static_cast<std::int32_t>(residual[i]);
    const float term = g[i] * r;
    step_terms[i] = k == kResidualSaturated ? term : step_terms[i];
    grad_x[i] = k == kResidualSaturated ? 0.0F : grad_x[i];
  }
}

template <bool kShaped, bool kOffset>
EDGEQAT_ALWAYS_INLINE void LsqCompactBackwardPiece(const LsqBackwardArgs& args, std::int64_t begin,
                                                   std::int64_t end, double* step_sums,
                                                   double* offset_sums) {
  BlockQParams p;
  GradientTerms terms;
  alignas(64) float loaded[kBlock];
  alignas(64) float result[kBlock];
  SumCursor steps(args.layout, begin), offsets = steps;
  const bool relu6 = args.activation == ActivationKind::kRelu6;
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    PrefetchAhead(args.grad, SizeOf(args.dtype), i);
    PrefetchAhead(args.residual, 1, i);
    const float* g = LoadFloats(args.dtype, args.grad, i, count, loaded);
    float* const grad_x = FloatsOutput(args.dtype, args.grad_x, i, result);
    if (relu6) {
      LoadQParams(args.layout, args.step, args.zero_point, args.qmin, args.qmax, i, count, p);
      if (g == grad_x) g = std::copy(g, g + count, loaded) - count;  // in place, and read twice
    }
    LsqCompactBackwardBlock<kShaped, kOffset>(args, g, args.residual + i, count, grad_x, terms);
    if (relu6 && p.uniform) {
      SaturatedTerms<true>(args, g, args.residual + i, p, count, grad_x, terms);
    } else if (relu6) {
      SaturatedTerms<false>(args, g, args.residual + i, p, count, grad_x, terms);
    }
    steps.Add(terms.step, count, step_sums);
    if constexpr (kOffset) offsets.Add(terms.offset, count, offset_sums);
    StoreFloats(args.dtype, grad_x, i, count, args.grad_x);
  }
}

EDGEQAT_ALWAYS_INLINE void LsqBackwardBody(const LsqBackwardArgs& args, std::int64_t begin,
                                           std::int64_t end, double* step_sums,
                                           double* offset_sums) {
  const bool shaped = args.delta != 0.0F || args.damping != 0.0F;
  if (shaped) {
    if (offset_sums != nullptr) {
      LsqBackwardPiece<true, true>(args, begin, end, step_sums, offset_sums);
    } else {
      LsqBackwardPiece<true, false>(args, begin, end, step_sums, offset_sums);
    }
  } else if (offset_sums != nullptr) {
    LsqBackwardPiece<false, true>(args, begin, end, step_sums, offset_sums);
  } else {
    LsqBackwardPiece<false, false>(args, begin, end, step_sums, offset_sums);
  }
}

EDGEQAT_ALWAYS_INLINE void LsqCompactBackwardBody(const LsqBackwardArgs& args, std::int64_t begin,
                                                  std::int64_t end, double* step_sums,
                                                  double* offset_sums) {
  if (args.delta != 0.0F) {
    if (offset_sums != nullptr) {
      LsqCompactBackwardPiece<true, true>(args, begin, end, step_sums, offset_sums);
    } else {
      LsqCompactBackwardPiece<true, false>(args, begin, end, step_sums, offset_sums);
    }
  } else if (offset_sums != nullptr) {
    LsqCompactBackwardPiece<false, true>(args, begin, end, step_sums, offset_sums);
  } else {
    LsqCompactBackwardPiece<false, false>(args, begin, end, step_sums, offset_sums);
  }
}

}  // namespace edgeqat::cpu
