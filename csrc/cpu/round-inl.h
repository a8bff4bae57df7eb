// SPDX-License-Identifier: Apache-2.0
// The rounding rule of every quantizer, written so that each instruction set, SSE2 included,
// vectorises it alike.
#pragma once

#include "cpu/target.h"

namespace edgeqat::cpu {

// Adding and subtracting 1.5 * 2^23 rounds half to even for |v| < 2^22 and turns -0 into +0. The
// callers clamp first (limits are integers below 512, and clamping to integers commutes with
// rounding), so the range holds: without the clamp 8388609.5 would already come out as 8388608. No
// libm call: SSE2 has no rounding instruction, and a call to rint() for each element costs 15 times
// as much.
EDGEQAT_ALWAYS_INLINE float RoundHalfEven(float v) { return (v + 0x1.8p23F) - 0x1.8p23F; }

// Both comparisons are written so that NaN passes through as v.
EDGEQAT_ALWAYS_INLINE float Clamp(float v, float low, float high) {
  const float above = low > v ? low : v;
  return high < above ? high : above;
}

}  // namespace edgeqat::cpu
