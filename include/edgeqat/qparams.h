// SPDX-License-Identifier: Apache-2.0
// From an observed range to a scale and a zero point.
#pragma once

#include <cstdint>

namespace edgeqat {

struct QParams {
  float scale = 1.0F;
  std::int32_t zero_point = 0;
  friend bool operator==(const QParams&, const QParams&) = default;
};

// symmetric: amax = max(|min|, |max|), scale = amax / ((qmax - qmin) / 2), zero_point = 0 if qmin <
// 0,
//            otherwise (qmin + qmax + 1) / 2.  -127..127 gives amax / 127, -128..127 gives amax /
//            127.5.
// affine:    the range is first widened to contain 0, which must have an exact code (padding,
// ReLU):
//            scale = (max - min) / (qmax - qmin),
//            zero_point = clamp(round_half_even(qmin - min / scale), qmin, qmax).
//
// Computed in double and rounded once to float32: max - min of +-3e38 would be inf in float32.
// A dead channel gets scale 1 and the zero point that a range of 0 has (0 clamped into [qmin, qmax]
// if affine): never observed (min = +inf, max = -inf), all zero, or so small that the scale would
// be denormal (below 1.17549435e-38), where 1 / scale overflows on an accelerator that flushes
// denormals.
//
// Errors (kInvalidArgument): NaN, an infinite bound other than never observed, min > max, qmin >=
// qmax, qmax - qmin > 255.
//
//   QParams p = ChooseQParams(-1.0F, 3.0F, -128, 127, /*symmetric=*/false);   // {0.015686275, -64}
[[nodiscard]] QParams ChooseQParams(float min, float max, std::int32_t qmin, std::int32_t qmax,
                                    bool symmetric);

}  // namespace edgeqat
