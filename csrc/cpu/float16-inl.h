// SPDX-License-Identifier: Apache-2.0
// float16 and bfloat16 to float32 and back, without branches, so that the loops over them
// vectorise.
#pragma once

#include <bit>
#include <cstdint>

#include "cpu/target.h"

namespace edgeqat::cpu {

struct Float16 {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

EDGEQAT_ALWAYS_INLINE float ToFloat(float x) { return x; }

EDGEQAT_ALWAYS_INLINE float ToFloat(BFloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

// Normal: shift the exponent field into place and correct the bias (127 - 15 = 112) by a
// multiplication that also keeps Inf and NaN. Denormal: the mantissa behind 0.5's exponent, minus
// 0.5, is exact.
EDGEQAT_ALWAYS_INLINE float ToFloat(Float16 x) {
  const std::uint32_t w = static_cast<std::uint32_t>(x.bits) << 16;
  const std::uint32_t sign = w & 0x80000000U;
  const std::uint32_t two_w = w + w;
  const float normal = std::bit_cast<float>((two_w >> 4) + 0x70000000U) * 0x1.0p-112F;
  const float denormal = std::bit_cast<float>((two_w >> 17) | 0x3F000000U) - 0.5F;
  const std::uint32_t magnitude = two_w < 0x08000000U ? std::bit_cast<std::uint32_t>(denormal)
                                                      : std::bit_cast<std::uint32_t>(normal);
  return std::bit_cast<float>(sign | magnitude);
}

EDGEQAT_ALWAYS_INLINE void FromFloat(float x, float* out) { *out = x; }

// Adding 0x7FFF plus the lowest kept bit rounds half to even and carries into the exponent, as
// 0x3F808000 (a tie) -> 0x3F80, 0x3F818000 -> 0x3F82. NaN would lose its mantissa and become Inf,
// so it is set apart.
EDGEQAT_ALWAYS_INLINE void FromFloat(float x, BFloat16* out) {
  const auto w = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (w + 0x7FFFU + ((w >> 16) & 1U)) >> 16;
  const bool nan = (w & 0x7FFFFFFFU) > 0x7F800000U;
  out->bits = static_cast<std::uint16_t>(nan ? 0x7FC0U : rounded);
}

// The float addition of `base` and a power of two chosen from the exponent rounds at float16's last
// bit; the first two multiplications turn what overflows into Inf (65520 is the first such value).
EDGEQAT_ALWAYS_INLINE void FromFloat(float x, Float16* out) {
  const auto w = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = w & 0x7FFFFFFFU;
  const float scaled = (std::bit_cast<float>(magnitude) * 0x1.0p+112F) * 0x1.0p-110F;
  const std::uint32_t two_w = w + w;
  const std::uint32_t exponent = two_w & 0xFF000000U;
  const std::uint32_t bias = exponent < 0x71000000U ? 0x71000000U : exponent;
  const float base = std::bit_cast<float>((bias >> 1) + 0x07800000U) + scaled;
  const auto bits = std::bit_cast<std::uint32_t>(base);
  const std::uint32_t finite = ((bits >> 13) & 0x00007C00U) + (bits & 0x00000FFFU);
  const std::uint32_t value = two_w > 0xFF000000U ? 0x7E00U : finite;
  out->bits = static_cast<std::uint16_t>(((w >> 16) & 0x8000U) | value);
}

}  // namespace edgeqat::cpu
