// SPDX-License-Identifier: Apache-2.0
// What the learned quantizers do to one element, built by both compilers; the formulas are those of
// edgeqat/lsq_fake_quantize.h, each operation rounded once.
#pragma once

#include <cstdint>

#include "cuda/host_device.h"
#include "cuda/quantize_rule.h"
#include "edgeqat/lsq_fake_quantize.h"

namespace edgeqat::cuda {

// The grid of the learned parameters at `q`.
template <typename Args>
EDGEQAT_HOST_DEVICE inline Grid LoadLearnedGrid(const Args& p, std::int64_t q) {
  const float step = LearnedStep(p.scale[q], p.qmin, p.qmax, p.rule);
  const std::int32_t zero_point =
      p.offset == nullptr ? 0 : LearnedZeroPoint(p.offset[q], step, p.qmin, p.qmax);
  return {step, static_cast<float>(zero_point), static_cast<float>(p.qmin),
          static_cast<float>(p.qmax)};
}

// rint(v) - v for v = a / step.
EDGEQAT_HOST_DEVICE inline float ResidualAt(float a, const Grid& grid) {
  const float v = Divide(a, grid.scale);
  return Subtract(RoundHalfEven(v), v);
}

// Whether v = a / step lies outside the codes; the limits are whole numbers below 512, so the
// differences are exact.
EDGEQAT_HOST_DEVICE inline bool IsBelow(float v, const Grid& grid) {
  return v < Subtract(grid.qmin, grid.zero_point);
}
EDGEQAT_HOST_DEVICE inline bool IsAbove(float v, const Grid& grid) {
  return v > Subtract(grid.qmax, grid.zero_point);
}

// The byte that backward keeps of an element.
EDGEQAT_HOST_DEVICE inline std::int8_t ResidualCode(float x, float a, const Grid& grid,
                                                    ActivationKind activation) {
  const float v = Divide(a, grid.scale);
  if (IsBelow(v, grid)) return kResidualLow;
  if (IsAbove(v, grid)) return kResidualHigh;
  if (activation == ActivationKind::kRelu6 && x >= 6.0f) return kResidualSaturated;
  if (ActivationDerivative(activation, x) == 0.0f) return kResidualDead;
  const float k = RoundHalfEven(Multiply(ResidualAt(a, grid), ResidualLevels(activation)));
  return k != k ? 0 : static_cast<std::int8_t>(static_cast<std::int32_t>(k));
}

// What one element gives: its own gradient, and its terms of the sums.
struct LsqTerms {
  float grad_x = 0.0f;
  float step = 0.0f;
  float offset = 0.0f;
};

EDGEQAT_HOST_DEVICE inline LsqTerms ClippedTerms(float g, float code) {
  return {0.0f, Multiply(g, code), g};
}

// g in range, with delta and damping; `distance` is a - y.
EDGEQAT_HOST_DEVICE inline LsqTerms InsideTerms(const LsqFakeQuantizeBackwardArgs& p, float g,
                                                float residual, float distance, float damping) {
  LsqTerms terms{g, 0.0f, 0.0f};
  terms.step = Multiply(g, p.rule == StepRule::kPact ? Multiply(residual, 0.0f) : residual);
  if (p.delta != 0.0f || damping != 0.0f) {
    const float delta = Divide(p.delta, static_cast<float>(p.qmax - p.qmin));
    const float magnitude = g < 0.0f ? -g : g;
    terms.grad_x = Add(Subtract(g, Multiply(magnitude, Multiply(residual, delta))),
                       Multiply(Multiply(2.0f, damping), distance));
  }
  return terms;
}

EDGEQAT_HOST_DEVICE inline float ChainedGradient(ActivationKind kind, float grad, float x) {
  if (kind == ActivationKind::kNone) return grad;
  const float slope = ActivationDerivative(kind, x);
  return slope == 0.0f ? 0.0f : Add(Multiply(grad, slope), 0.0f);
}

// From x.
EDGEQAT_HOST_DEVICE inline LsqTerms ExactTerms(const LsqFakeQuantizeBackwardArgs& p, float g,
                                               float x, const Grid& grid) {
  const float a = Activate(p.activation, x);
  const float v = Divide(a, grid.scale);
  if (IsBelow(v, grid)) return ClippedTerms(g, grid.qmin);
  if (IsAbove(v, grid)) return ClippedTerms(g, grid.qmax);
  const float distance = Subtract(a, ValueAt(GridPosition(a, grid), grid));
  LsqTerms terms = InsideTerms(p, g, ResidualAt(a, grid), distance, p.damping);
  terms.grad_x = ChainedGradient(p.activation, terms.grad_x, x);
  return terms;
}

// From the residual.
EDGEQAT_HOST_DEVICE inline LsqTerms CompactTerms(const LsqFakeQuantizeBackwardArgs& p, float g,
                                                 std::int8_t k, const Grid& grid) {
  if (k == kResidualDead) return {};
  if (k == kResidualLow) return ClippedTerms(g, grid.qmin);
  if (k == kResidualHigh) return ClippedTerms(g, grid.qmax);
  if (p.activation == ActivationKind::kRelu6 && k == kResidualSaturated) {
    LsqTerms terms = InsideTerms(p, g, ResidualAt(6.0f, grid), 0.0f, 0.0f);
    terms.grad_x = 0.0f;
    return terms;
  }
  const float unit = Divide(1.0f, ResidualLevels(p.activation));
  return InsideTerms(p, g, Multiply(static_cast<float>(k), unit), 0.0f, 0.0f);
}

}  // namespace edgeqat::cuda
