// SPDX-License-Identifier: Apache-2.0
// float16 and bfloat16 as storage: kernels compute in float32 and round once, half to even.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/host_device.h"
#include "edgeqat/quant_layout.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace edgeqat::cuda {

struct Float16 {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

// Calls visitor.operator()<T>() with the C++ type that stores a float dtype.
template <typename Visitor>
void VisitFloatType(FloatType type, Visitor visitor) {
  switch (type) {
    case FloatType::kFloat32:
      visitor.template operator()<float>();
      return;
    case FloatType::kFloat16:
      visitor.template operator()<Float16>();
      return;
    case FloatType::kBFloat16:
      visitor.template operator()<BFloat16>();
      return;
  }
}

template <typename To, typename From>
EDGEQAT_HOST_DEVICE inline To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

EDGEQAT_HOST_DEVICE inline float ToFloat(float v) { return v; }

EDGEQAT_HOST_DEVICE inline float ToFloat(BFloat16 v) {
  return BitCast<float>(static_cast<std::uint32_t>(v.bits) << 16);
}

EDGEQAT_HOST_DEVICE inline float ToFloat(Float16 v) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(v.bits));
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(v.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (v.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = v.bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in float32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t biased = exponent == 31 ? 255u : exponent + 112u;
  return BitCast<float>(sign | (biased << 23) | (mantissa << 13));
#endif
}

template <typename T>
EDGEQAT_HOST_DEVICE T FromFloat(float v);

template <>
EDGEQAT_HOST_DEVICE inline float FromFloat<float>(float v) {
  return v;
}

template <>
EDGEQAT_HOST_DEVICE inline BFloat16 FromFloat<BFloat16>(float v) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  return {__bfloat16_as_ushort(__float2bfloat16_rn(v))};  // half an instruction instead of eight
#else
  const auto u = BitCast<std::uint32_t>(v);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {0x7fc0};  // NaN: rounding could carry it to infinity
  return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
#endif
}

template <>
EDGEQAT_HOST_DEVICE inline Float16 FromFloat<Float16>(float v) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(v))};
#else
  const auto u = BitCast<std::uint32_t>(v);
  const auto sign = static_cast<std::uint16_t>((u >> 16) & 0x8000u);
  const std::uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // >= 65520
  if (magnitude < 0x38800000u) {
    // Below 2^-14 the result counts multiples of 2^-24. Adding 0.5 leaves a float32 whose last bit
    // is worth 2^-24, so the addition rounds half to even where float16 must.
    const float shifted = BitCast<float>(magnitude) + 0.5f;
    return {static_cast<std::uint16_t>(sign | (BitCast<std::uint32_t>(shifted) - 0x3f000000u))};
  }
  const std::uint32_t rounded = magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<std::uint16_t>(sign | (rounded >> 13))};
#endif
}

}  // namespace edgeqat::cuda
