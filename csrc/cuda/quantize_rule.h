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

// Comparisons, not fmin/fmax: those would turn NaN into qmin.
EDGEQAT_HOST_DEVICE inline float ClampToGrid(float position, const Grid& grid) {
  return position < grid.qmin ? grid.qmin : (position > grid.qmax ? grid.qmax : position);
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
