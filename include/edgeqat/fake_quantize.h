// SPDX-License-Identifier: Apache-2.0
// Fake quantization: what an integer runtime will see of a float tensor, and its clipped
// straight-through gradient.
#pragma once

#include <cstdint>

#include "edgeqat/activation.h"
#include "edgeqat/parallel.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

// The numerics of ONNX QuantizeLinear followed by DequantizeLinear, bit for bit, in float32:
//
//   a = activation(x)
//   q = clamp(round_half_even(a / scale) + zero_point, qmin, qmax)
//   y = (q - zero_point) * scale                       then rounded to x's type, half to even
//   bit = qmin <= round_half_even(a / scale) + zero_point <= qmax
//         and, except for hardswish, whose derivative is no bit, activation'(x) != 0
//
// - The division is a true one. A reciprocal differs on ties: 45.5 / 7 is 6.5 and rounds to 6, but
//   45.5 * (1 / 7) is 6.5000005 and rounds to 7.
// - NaN gives NaN with its bit set; +-Inf saturates with its bit clear. y is never -0.
// - Where mask is 0, y = +0 and the bit is clear, whatever x is (NaN too).
//
// Pointers: x and y are dense, in the order that `layout` describes, y may be x; bits holds
// ceil(n / 8) bytes, element e is bit e % 8 of byte e / 8, the spare bits of the last byte are 0.
// No alignment beyond that of the element type is needed. Preconditions, not checked here (the ops
// check them): scales are finite and above 0, zero points lie in [qmin, qmax], qmin < qmax, qmax -
// qmin <= 255.
struct FakeQuantizeArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* x = nullptr;
  const float* scale = nullptr;              // layout.num_scales()
  const std::int32_t* zero_point = nullptr;  // layout.num_scales()
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  const std::uint8_t* mask = nullptr;  // optional: one byte per element, 0 = pruned
  void* y = nullptr;
  std::uint8_t* bits = nullptr;  // optional: for fake_quantize_backward
  ActivationKind activation = ActivationKind::kNone;
};
void fake_quantize(const FakeQuantizeArgs& args, const ParallelFor& pool = {});

// grad_x = bit ? grad : +0, the clipped straight-through estimator. NaN passes where the bit is
// set. grad and bits are in the same element order; grad_x may be grad.
//
// With activation = kHardswish: grad_x = bit ? grad * activation'(x) : +0, in float32, rounded once
// to the type; x is that of the forward, in the order of grad. The other activations' derivatives
// are in the bits: pass kNone.
struct FakeQuantizeBackwardArgs {
  FloatType dtype = FloatType::kFloat32;
  std::int64_t numel = 0;
  const void* grad = nullptr;
  const std::uint8_t* bits = nullptr;
  void* grad_x = nullptr;
  const void* x = nullptr;  // only for kHardswish
  ActivationKind activation = ActivationKind::kNone;
};
void fake_quantize_backward(const FakeQuantizeBackwardArgs& args, const ParallelFor& pool = {});

}  // namespace edgeqat
