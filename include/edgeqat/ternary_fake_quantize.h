// SPDX-License-Identifier: Apache-2.0
// Ternary weights: -scale, 0 or +scale, with the scale that approximates the weights best (Li et
// al., Ternary Weight Networks, 2016).
#pragma once

#include <cstdint>

#include "edgeqat/parallel.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

// For every tensor, channel or group:
//
//   threshold = 0.7 * mean |x|
//   scale     = mean of |x| where |x| > threshold
//   y         = -scale, 0 or +scale where x < -threshold, |x| <= threshold, x > threshold
//
// - Means are over the finite elements that the mask keeps: sums in double, in an order that
//   depends on the layout alone (docs/numerics.md, section 9), rounded once to float32.
// - NaN stays NaN; +-Inf becomes +-scale. Where mask is 0, y = +0. y is never -0.
// - Without an element above the threshold, or with a scale below 1.17549435e-38, the channel is
//   dead: scale 1 and y = 0.
// - An integer runtime holds quantize(y) with this scale, zero point 0 and the range [-1, 1].
//
// Pointers: x and y are dense, in the order of `layout`, y may be x.
struct TernaryFakeQuantizeArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* x = nullptr;
  const std::uint8_t* mask = nullptr;  // optional: one byte per element, 0 = pruned
  void* y = nullptr;
  float* scale = nullptr;  // layout.num_scales(), overwritten
};
void ternary_fake_quantize(const TernaryFakeQuantizeArgs& args, const ParallelFor& pool = {});

}  // namespace edgeqat
