// SPDX-License-Identifier: Apache-2.0
// The numerics contract for one element, built by both compilers; every kernel goes through it.
//
//   position = rint(x / scale) + zero_point      float32, division correctly rounded, half to even
//   code     = clamp(position, qmin, qmax)
//   value    = (code - zero_point) * scale
//
// Each step is one correctly rounded operation that the compiler may not replace or fuse: 0.045 at
// scale 0.01 is 4.5000005 and gets code 5; the reciprocal would give 4.5, a tie, and code 4.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>

#include "cuda/host_device.h"

namespace edgeqat::cuda {

EDGEQAT_HOST_DEVICE inline float Divide(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

EDGEQAT_HOST_DEVICE inline float Multiply(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

EDGEQAT_HOST_DEVICE inline float Add(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

EDGEQAT_HOST_DEVICE inline float Subtract(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fsub_rn(a, b);
#else
  return a - b;
#endif
}

EDGEQAT_HOST_DEVICE inline float RoundHalfEven(float a) { return rintf(a); }

// The grid's bounds and one element's qparams, in float32.
struct Grid {
  float scale;
  float zero_point;
  float qmin;
  float qmax;
};

// The grid of the element whose qparams lie at `q`.
EDGEQAT_HOST_DEVICE inline Grid LoadGrid(const float* scale, const std::int32_t* zero_point,
                                         std::int64_t q, std::int32_t qmin, std::int32_t qmax) {
  return {scale[q], static_cast<float>(zero_point[q]), static_cast<float>(qmin),
          static_cast<float>(qmax)};
}

EDGEQAT_HOST_DEVICE inline float GridPosition(float x, const Grid& grid) {
  return Add(RoundHalfEven(Divide(x, grid.scale)), grid.zero_point);
}

// What takes the place of a division by `scale`: its rounded reciprocal, and how far from a tie a
// product must lie, relative to itself, to round as the quotient does.
struct Reciprocal {
  float value;
  float margin;
  bool is_usable;  // otherwise it, or the product, could be denormal: divide
};

EDGEQAT_HOST_DEVICE inline Reciprocal ReciprocalOf(float scale) {
  std::uint32_t bits;
  memcpy(&bits, &scale, sizeof(bits));
  const bool is_power_of_two = (bits & 0x7fffffu) == 0;
  return {Divide(1.0f, scale), is_power_of_two ? 0.0f : 0x1p-21f,
          scale >= 0x1p-100f && scale <= 0x1p100f};
}

// GridPosition for values with one scale, without a division for nearly all of them: it takes a
// dozen instructions and a branch, and reading 16-bit data as fast as an H200 can leaves time for
// about 30 instructions an element in all.
//
// The product q of x and the rounded reciprocal differs from the rounded quotient by at most
// 3 * 2^-24 |q|, one rounding each for reciprocal, product and quotient. So both round to the same
// integer, unless q is closer to a tie than 2^-21 |q|; then all values are divided. A power of two
// has an exact reciprocal and needs no margin: d + 0 > 0.5 is never true. Infinities and NaN are
// not close to a tie either, because d is NaN; values beyond 2^20 steps always are.
template <int kCount>
EDGEQAT_HOST_DEVICE inline void GridPositions(const float (&x)[kCount], const Grid& grid,
                                              float (&position)[kCount]) {
  const Reciprocal reciprocal = ReciprocalOf(grid.scale);
  bool divide = !reciprocal.is_usable;
  for (int k = 0; k < kCount; ++k) {
    const float q = Multiply(x[k], reciprocal.value);
    const float rounded = RoundHalfEven(q);
    const float d = fabsf(Subtract(q, rounded));
    divide |= Add(d, Multiply(fabsf(q), reciprocal.margin)) > 0.5f;
    position[k] = Add(rounded, grid.zero_point);
  }
  if (!divide) return;
  for (int k = 0; k < kCount; ++k) position[k] = GridPosition(x[k], grid);
}

// Comparisons, not fmin/fmax: those would turn NaN into qmin. One after the other: nested, they
// become a branch for each element.
EDGEQAT_HOST_DEVICE inline float ClampToGrid(float position, const Grid& grid) {
  const float low = position < grid.qmin ? grid.qmin : position;
  return low > grid.qmax ? grid.qmax : low;
}

// NaN counts as in range, so that its gradient shows it too.
EDGEQAT_HOST_DEVICE inline bool IsInRange(float position, const Grid& grid) {
  return !(position < grid.qmin) && !(position > grid.qmax);
}

EDGEQAT_HOST_DEVICE inline float ValueAt(float position, const Grid& grid) {
  return Multiply(Subtract(ClampToGrid(position, grid), grid.zero_point), grid.scale);
}

// The clamp comes before the conversion: float 3e9 to int is undefined. NaN gets the code of zero.
EDGEQAT_HOST_DEVICE inline std::int32_t CodeAt(float position, const Grid& grid) {
  const float finite = position != position ? grid.zero_point : position;
  return static_cast<std::int32_t>(ClampToGrid(finite, grid));
}

// (code - zero_point) * scale for a code stored in one byte. The subtraction is in float32, as in
// ValueAt.
EDGEQAT_HOST_DEVICE inline float Dequantized(std::uint8_t byte, bool is_signed, float scale,
                                             std::int32_t zero_point) {
  const std::int32_t code = is_signed && byte >= 128 ? byte - 256 : byte;
  return Multiply(Subtract(static_cast<float>(code), static_cast<float>(zero_point)), scale);
}

}  // namespace edgeqat::cuda
