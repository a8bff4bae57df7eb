// SPDX-License-Identifier: Apache-2.0
// DoReFa weights in their deployable, symmetric form: squashed by tanh into [-1, 1], then rounded
// to a grid of fixed step (Zhou et al., DoReFa-Net, 2016).
#pragma once

#include <cstdint>

#include "edgeqat/parallel.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

// In float32, tanh within 1.33 units of the last place, m = max |x| of the tensor, channel or group
// over the finite elements that the mask keeps:
//
//   t = tanh(x) / tanh(m)
//   y = fake_quantize(t, 1 / qmax, 0, qmin, qmax)      (edgeqat/fake_quantize.h)
//
// so |y| <= 1, and an integer runtime holds the codes with the scale 1 / qmax. The paper maps
// [-1, 1] to 2^k levels without a zero; here 0 is a code and the range is symmetric.
// A channel of zeros (tanh(m) below 1.17549435e-38) is divided by 1. NaN stays NaN, +-Inf becomes
// +-1, y is +0 where mask is 0. Preconditions, not checked here (the op checks them): those of
// fake_quantize with 1 <= qmax <= -qmin.
struct DorefaFakeQuantizeArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* x = nullptr;
  std::int32_t qmin = -7;
  std::int32_t qmax = 7;
  const std::uint8_t* mask = nullptr;  // optional: one byte per element, 0 = pruned
  void* y = nullptr;
};
void dorefa_fake_quantize(const DorefaFakeQuantizeArgs& args, const ParallelFor& pool = {});

// grad_x = grad * (1 - tanh^2(x)) / tanh(m), with m a constant: straight through the rounding, +0
// where mask is 0. grad_x may be grad.
struct DorefaFakeQuantizeBackwardArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* grad = nullptr;
  const void* x = nullptr;
  const std::uint8_t* mask = nullptr;
  void* grad_x = nullptr;
};
void dorefa_fake_quantize_backward(const DorefaFakeQuantizeBackwardArgs& args,
                                   const ParallelFor& pool = {});

}  // namespace edgeqat
