// SPDX-License-Identifier: Apache-2.0
// Fake quantization whose step, and optionally offset, are learned: LSQ, LSQ+, PACT and
// power-of-two steps, with the gradient as LSQ, EWGS and oscillation dampening have it.
#pragma once

#include <cstdint>
#include <span>

#include "edgeqat/activation.h"
#include "edgeqat/learned_step.h"
#include "edgeqat/parallel.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

// Forward: fake_quantize(x, step, z, qmin, qmax, mask) behind the activation, bit for bit, with
//
//   step = LearnedStep(scale, qmin, qmax, rule)
//   z    = LearnedZeroPoint(offset, step, qmin, qmax), or 0 without an offset
//
// Backward, with a = activation(x), v = a / step, r = rint(v) - v:
//
//                  in range                                      v + z < qmin  v + z > qmax
//   grad_x         (g - |g| * r * delta / (qmax - qmin)
//                     + 2 * damping * (a - y)) * activation'(x)    0            0
//   grad step      sum of g * r (kPact: of 0)                      g * qmin     g * qmax
//   grad offset    0                                               g            g
//
//   grad_scale  = grad step * d step / d scale * grad_factor
//   grad_offset = grad offset * grad_factor
//
// delta = 0, damping = 0: the clipped straight-through estimator. delta > 0: EWGS (Lee et al.
// 2021). damping > 0: the gradient of damping * (a - y)^2, which pulls weights to the middle of
// their step (Nagel et al. 2022). The offset is taken to act on clipped values only, as in LSQ+.
//
// - Where mask is 0, all contributions are 0, whatever g and x are.
// - NaN in x counts as in range: g passes to grad_x, and the sums become NaN (compact: r counts as
//   0, because a byte has no NaN).
// - Without an offset z is 0, so qmin <= 0 <= qmax is required.
// - The sums do not depend on threads or instruction set: float32 over at most 512 elements in a
//   fixed order, from there in double.

// What one byte keeps of an element for backward, instead of x.
//
//   -126 .. 126   in range: rint(r * 253), so r is known to 1 / 506
//   -128          v + z < qmin
//    127          v + z > qmax
//   -127          gives nothing: masked out, or the activation's derivative is 0 and so is r
//
// With relu6 rint(r * 250) in -125 .. 125, so r is known to 1 / 500, because one mark more is
// needed (251 levels would round r = 0.5 to 126):
//    126          x >= 6 in range: no gradient for x, and r = rint(6 / step) - 6 / step
//
// |grad_scale - exact| <= sum |g| / 506 (500) * |d step / d scale| * grad_factor; grad_offset and,
// with delta = 0, grad_x are exact. Not for hardswish, whose derivative needs x.
inline constexpr std::int8_t kResidualLow = -128;
inline constexpr std::int8_t kResidualHigh = 127;
inline constexpr std::int8_t kResidualDead = -127;
inline constexpr std::int8_t kResidualSaturated = 126;
[[nodiscard]] EDGEQAT_FORMULA constexpr float ResidualLevels(ActivationKind activation) {
  return activation == ActivationKind::kRelu6 ? 250.0F : 253.0F;
}

// step[i] = LearnedStep(scale[i], qmin, qmax, rule); step may be scale.
struct LearnedStepArgs {
  const float* scale = nullptr;
  std::int64_t count = 0;
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  StepRule rule = StepRule::kLsq;
  float* step = nullptr;
};
void learned_step(const LearnedStepArgs& args);

// Pointers and preconditions as in FakeQuantizeArgs: dense data in the order of `layout`; scales
// and offsets are finite, qmin < qmax, qmax - qmin <= 255.
struct LsqFakeQuantizeArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* x = nullptr;
  const float* scale = nullptr;   // the parameter p: layout.num_scales()
  const float* offset = nullptr;  // optional: layout.num_scales()
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  StepRule rule = StepRule::kLsq;
  ActivationKind activation = ActivationKind::kNone;
  const std::uint8_t* mask = nullptr;  // optional: one byte per element, 0 = pruned
  void* y = nullptr;
  std::int8_t* residual = nullptr;  // optional: for lsq_fake_quantize_compact_backward
};
void lsq_fake_quantize(const LsqFakeQuantizeArgs& args, const ParallelFor& pool = {});

struct LsqFakeQuantizeBackwardArgs {
  FloatType dtype = FloatType::kFloat32;  // of grad, x and grad_x
  QuantLayout layout;
  const void* grad = nullptr;
  const void* x = nullptr;                // lsq_fake_quantize_backward
  const std::int8_t* residual = nullptr;  // lsq_fake_quantize_compact_backward
  const float* scale = nullptr;
  const float* offset = nullptr;
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  StepRule rule = StepRule::kLsq;
  ActivationKind activation = ActivationKind::kNone;
  const std::uint8_t* mask = nullptr;  // lsq_fake_quantize_backward
  double grad_factor = 1.0;            // LSQ: 1 / sqrt(elements of a scale * qmax)
  float delta = 0.0F;
  float damping = 0.0F;          // lsq_fake_quantize_backward
  void* grad_x = nullptr;        // may be grad
  float* grad_scale = nullptr;   // layout.num_scales()
  float* grad_offset = nullptr;  // layout.num_scales(), if offset is given
};

// From x, exact.
void lsq_fake_quantize_backward(const LsqFakeQuantizeBackwardArgs& args,
                                const ParallelFor& pool = {});

// From the residuals of lsq_fake_quantize; ignores x, mask and damping.
void lsq_fake_quantize_compact_backward(const LsqFakeQuantizeBackwardArgs& args,
                                        const ParallelFor& pool = {});

// All tensors of a model in one call, over the threads of one pool: the small ones side by side.
// Without residuals; each as by itself, bit for bit.
void lsq_fake_quantize_multi(std::span<const LsqFakeQuantizeArgs> args,
                             const ParallelFor& pool = {});
void lsq_fake_quantize_multi_backward(std::span<const LsqFakeQuantizeBackwardArgs> args,
                                      const ParallelFor& pool = {});

}  // namespace edgeqat
