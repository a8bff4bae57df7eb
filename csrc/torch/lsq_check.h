// SPDX-License-Identifier: Apache-2.0
// Argument checks of the operators with learned steps, shared by the CPU and the CUDA side.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "edgeqat/lsq_fake_quantize.h"
#include "torch/check.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

inline StepRule CheckRule(std::string_view op, std::int64_t rule) {
  if (rule >= 0 && rule < kStepRules) return static_cast<StepRule>(rule);
  Fail(op, "rule", "0 (lsq), 1 (power_of_two) or 2 (pact)", std::to_string(rule),
       "edgeqat.functional takes the names instead.");
}

// Scale, offset and the range of codes: what the forward and the backward operators share.
struct LearnedParams {
  Granularity granularity;
  StepRule rule = StepRule::kLsq;
  ActivationKind activation = ActivationKind::kNone;
};

inline LearnedParams CheckLearnedParams(std::string_view op, const Tensor& data,
                                        const Tensor& scale, std::int64_t qmin, std::int64_t qmax,
                                        std::optional<std::int64_t> axis,
                                        std::optional<std::int64_t> group_size,
                                        const std::optional<Tensor>& offset,
                                        std::int64_t activation, std::int64_t rule) {
  CheckRange(op, qmin, qmax);
  LearnedParams params;
  params.granularity = CheckScales(op, data, scale, axis, group_size);
  params.activation = CheckActivation(op, activation);
  params.rule = CheckRule(op, rule);
  if (offset.has_value()) {
    CheckDtype(op, "offset", *offset, ScalarType::Float);
    CheckDevice(op, "offset", *offset, data);
    CheckShape(op, "offset", *offset, Sizes(scale), "It has the shape of scale.");
    if (params.rule == StepRule::kPact) {
      Fail(op, "offset", "None for the rule pact", "a tensor",
           "PACT clips at 0; use the rule lsq to learn an offset.");
    }
  } else if (qmin > 0 || qmax < 0) {
    Fail(op, "qmin, qmax", "around 0 without an offset",
         std::to_string(qmin) + ", " + std::to_string(qmax),
         "Without an offset the zero point is 0, which must be a code.");
  }
  return params;
}

// The residual's byte holds no derivative of hardswish.
inline void CheckCompact(std::string_view op, ActivationKind activation) {
  if (HasBinaryDerivative(activation)) return;
  Fail(op, "activation", "none, relu or relu6", "hardswish",
       "Its derivative needs x: use save=\"exact\".");
}

inline void CheckGrad(std::string_view op, const Tensor& grad, const Tensor& data) {
  CheckDevice(op, "grad", grad, data);
  CheckShape(op, "grad", grad, Sizes(data), "grad has the shape of the forward's input.");
}

inline void CheckNotNegative(std::string_view op, std::string_view argument, double value) {
  if (value >= 0.0 && std::isfinite(value)) return;
  Fail(op, argument, "finite and at least 0", std::to_string(value), "0 switches it off.");
}

// The gradient scale of the LSQ paper, 1 / sqrt(n * qmax) with n elements to a scale, if none is
// given.
inline double GradFactor(std::string_view op, std::optional<double> grad_scale,
                         const QuantLayout& layout, std::int64_t qmax) {
  if (grad_scale.has_value()) {
    if (std::isfinite(*grad_scale)) return *grad_scale;
    Fail(op, "grad_scale", "finite", std::to_string(*grad_scale),
         "None takes 1 / sqrt(n * qmax) of the LSQ paper.");
  }
  const std::int64_t elements = layout.numel() / std::max<std::int64_t>(layout.num_scales(), 1) *
                                std::max<std::int64_t>(qmax, 1);
  return 1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(elements, 1)));
}

// The gradients of scale and offset: without an offset the second is empty.
struct ParamGradients {
  Tensor scale, offset;
};

inline ParamGradients EmptyParamGradients(const Tensor& scale, bool with_offset) {
  constexpr std::int64_t kNone = 0;
  return {EmptyRowMajor(Sizes(scale), ScalarType::Float, scale),
          with_offset ? EmptyRowMajor(Sizes(scale), ScalarType::Float, scale)
                      : EmptyRowMajor({&kNone, 1}, ScalarType::Float, scale)};
}

// A second input of an element-wise operator, laid out as the kernel takes the first.
inline std::optional<Tensor> AsLaidOut(const std::optional<Tensor>& tensor,
                                       const Elementwise& data) {
  if (!tensor.has_value()) return std::nullopt;
  return WithStridesOf(*tensor, data.out);
}

}  // namespace edgeqat::torch_ops
