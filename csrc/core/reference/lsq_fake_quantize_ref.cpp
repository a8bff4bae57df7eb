// SPDX-License-Identifier: Apache-2.0
// The learned quantizers as their papers read: libm, double, one element after the other.
#include "core/reference/lsq_fake_quantize_ref.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "core/reference/float16_ref.h"

namespace edgeqat::reference {
namespace {

float StepOf(float p, std::int32_t qmin, std::int32_t qmax, StepRule rule) {
  const float m = std::max(std::fabs(p), std::ldexp(1.0F, -100));
  if (rule == StepRule::kPact) return m / static_cast<float>(qmax - qmin);
  if (rule == StepRule::kLsq) return m;
  int exponent = 0;
  const float mantissa = std::frexp(m, &exponent);  // m = mantissa * 2^exponent, in [0.5, 1)
  return std::ldexp(1.0F, std::min(127, mantissa == 0.5F ? exponent - 1 : exponent));
}

double SlopeOf(float p, std::int32_t qmin, std::int32_t qmax, StepRule rule) {
  const double sign = p < 0.0F ? -1.0 : 1.0;
  if (rule == StepRule::kLsq) return sign;
  if (rule == StepRule::kPact) return sign / (qmax - qmin);
  const double m = std::max<double>(std::fabs(p), std::ldexp(1.0, -100));
  return sign * static_cast<double>(StepOf(p, qmin, qmax, rule)) / m;
}

// Where a value lies: in, below or above the codes, and how far the grid is away.
struct Position {
  bool nan = false, low = false, high = false;
  float residual = 0.0F;  // rint(v) - v, exact: Sterbenz
  float y = 0.0F;
};

template <typename Args>
Position PositionOf(const Args& args, float a, std::int64_t scale) {
  const float step = StepOf(args.scale[scale], args.qmin, args.qmax, args.rule);
  double zero = 0.0;
  if (args.offset != nullptr) {
    zero = std::clamp<double>(std::nearbyint(-args.offset[scale] / step), args.qmin, args.qmax);
  }
  const float v = a / step;
  if (std::isnan(v)) return {.nan = true, .residual = v, .y = a};
  const double code = std::nearbyint(static_cast<double>(v)) + zero;
  const double clamped = std::clamp<double>(code, args.qmin, args.qmax);
  return {.nan = false,
          .low = static_cast<double>(v) < args.qmin - zero,
          .high = static_cast<double>(v) > args.qmax - zero,
          .residual = std::nearbyint(v) - v,
          .y = static_cast<float>(clamped - zero) * step};
}

bool IsPruned(const std::uint8_t* mask, std::int64_t e) { return mask != nullptr && mask[e] == 0; }

std::int8_t ResidualOf(const Position& at, ActivationKind activation, float x) {
  if (at.low) return kResidualLow;
  if (at.high) return kResidualHigh;
  if (activation == ActivationKind::kRelu6 && x >= 6.0F) return kResidualSaturated;
  if (ActivationDerivative(activation, x) == 0.0F) return kResidualDead;
  if (at.nan) return 0;
  return static_cast<std::int8_t>(
      std::nearbyint(at.residual * (activation == ActivationKind::kRelu6 ? 250.0F : 253.0F)));
}

// What one element gives: its own gradient, and its terms of the sums.
struct Gradient {
  float x = 0.0F;
  double step = 0.0, offset = 0.0;
};

struct Sums {
  std::vector<double> step, offset;

  void Add(std::int64_t scale, const Gradient& g) {
    step[static_cast<std::size_t>(scale)] += g.step;
    offset[static_cast<std::size_t>(scale)] += g.offset;
  }
};

template <typename ElementGradient>
void Backward(const LsqFakeQuantizeBackwardArgs& args, const ElementGradient& element) {
  const auto scales = static_cast<std::size_t>(args.layout.num_scales());
  Sums sums = {std::vector<double>(scales), std::vector<double>(scales)};
  for (std::int64_t e = 0; e < args.layout.numel(); ++e) {
    const std::int64_t s = args.layout.index(e);
    const Gradient gradient = element(LoadFloat(args.grad, args.dtype, e), e, s);
    StoreFloat(gradient.x, args.dtype, e, args.grad_x);
    sums.Add(s, gradient);
  }
  for (std::size_t s = 0; s < scales; ++s) {
    const double slope = SlopeOf(args.scale[s], args.qmin, args.qmax, args.rule);
    args.grad_scale[s] = static_cast<float>(sums.step[s] * slope * args.grad_factor);
    if (args.offset != nullptr) {
      args.grad_offset[s] = static_cast<float>(sums.offset[s] * args.grad_factor);
    }
  }
}

Gradient Clipped(const LsqFakeQuantizeBackwardArgs& args, float g, bool low) {
  return {.x = 0.0F,
          .step = static_cast<double>(g) * (low ? args.qmin : args.qmax),
          .offset = static_cast<double>(g)};
}

// In range; `distance` is a - y.
Gradient Inside(const LsqFakeQuantizeBackwardArgs& args, float g, float residual, float distance) {
  Gradient gradient = {.x = g};
  const double weight = args.rule == StepRule::kPact ? 0.0 : 1.0;
  gradient.step = static_cast<double>(g) * static_cast<double>(residual) * weight;
  if (args.delta != 0.0F || args.damping != 0.0F) {
    const float delta = args.delta / static_cast<float>(args.qmax - args.qmin);
    gradient.x = (g - std::fabs(g) * (residual * delta)) + 2.0F * args.damping * distance;
  }
  return gradient;
}

}  // namespace

void learned_step_ref(const LearnedStepArgs& args) {
  for (std::int64_t i = 0; i < args.count; ++i) {
    args.step[i] = StepOf(args.scale[i], args.qmin, args.qmax, args.rule);
  }
}

void lsq_fake_quantize_ref(const LsqFakeQuantizeArgs& args) {
  for (std::int64_t e = 0; e < args.layout.numel(); ++e) {
    const float x = LoadFloat(args.x, args.dtype, e);
    const Position at = PositionOf(args, Activate(args.activation, x), args.layout.index(e));
    const bool pruned = IsPruned(args.mask, e);
    StoreFloat(pruned ? 0.0F : at.y, args.dtype, e, args.y);
    if (args.residual == nullptr) continue;
    args.residual[e] = pruned ? kResidualDead : ResidualOf(at, args.activation, x);
  }
}

void lsq_fake_quantize_backward_ref(const LsqFakeQuantizeBackwardArgs& args) {
  Backward(args, [&](float g, std::int64_t e, std::int64_t s) -> Gradient {
    if (IsPruned(args.mask, e)) return {};
    const float x = LoadFloat(args.x, args.dtype, e);
    const float a = Activate(args.activation, x);
    const Position at = PositionOf(args, a, s);
    if (at.low || at.high) return Clipped(args, g, at.low);
    Gradient gradient = Inside(args, g, at.residual, a - at.y);
    const float slope = ActivationDerivative(args.activation, x);
    if (args.activation != ActivationKind::kNone) {
      gradient.x = slope == 0.0F ? 0.0F : gradient.x * slope + 0.0F;  // never -0
    }
    return gradient;
  });
}

void lsq_fake_quantize_compact_backward_ref(const LsqFakeQuantizeBackwardArgs& args) {
  const bool relu6 = args.activation == ActivationKind::kRelu6;
  Backward(args, [&](float g, std::int64_t e, std::int64_t s) -> Gradient {
    const std::int8_t k = args.residual[e];
    if (k == kResidualDead) return {};
    if (k == kResidualLow || k == kResidualHigh) return Clipped(args, g, k == kResidualLow);
    LsqFakeQuantizeBackwardArgs one = args;
    one.damping = 0.0F;
    if (relu6 && k == kResidualSaturated) {
      Gradient gradient = Inside(one, g, PositionOf(args, 6.0F, s).residual, 0.0F);
      gradient.x = 0.0F;
      return gradient;
    }
    return Inside(one, g, static_cast<float>(k) * (1.0F / (relu6 ? 250.0F : 253.0F)), 0.0F);
  });
}

void lsq_fake_quantize_multi_ref(std::span<const LsqFakeQuantizeArgs> args) {
  for (const LsqFakeQuantizeArgs& one : args) lsq_fake_quantize_ref(one);
}

void lsq_fake_quantize_multi_backward_ref(std::span<const LsqFakeQuantizeBackwardArgs> args) {
  for (const LsqFakeQuantizeBackwardArgs& one : args) lsq_fake_quantize_backward_ref(one);
}

}  // namespace edgeqat::reference
