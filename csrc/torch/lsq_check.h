// SPDX-License-Identifier: Apache-2.0
// Checks and arguments of the operators with learned steps, shared by the CPU and the CUDA side.
//
//   const LsqCheck check = CheckLsqForward(op, x, scale, options, with_residual);
//   ...                                  // CUDA: the device and its stream
//   LsqForward call(x, scale, options, check, with_residual);
//   edgeqat::lsq_fake_quantize(call.args, TorchPool());
//   return call.Finish();
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "edgeqat/lsq_fake_quantize.h"
#include "torch/alloc.h"
#include "torch/check.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

using OptionalTensor = std::optional<Tensor>;

// The arguments of an operator besides its data and scale.
struct LsqOptions {
  std::int64_t qmin = 0, qmax = 0;
  std::optional<std::int64_t> axis, group_size;
  OptionalTensor offset, mask;
  std::int64_t activation = 0, rule = 0;
  // What the gradient is to be; forward only checks it, so that a wrong value is refused there.
  std::optional<double> grad_scale{};
  double delta = 0.0, damping = 0.0;
};

// What the checks found out.
struct LsqCheck {
  FloatType dtype = FloatType::kFloat32;
  Granularity granularity;
  StepRule rule = StepRule::kLsq;
  ActivationKind activation = ActivationKind::kNone;
};

inline StepRule CheckRule(std::string_view op, std::int64_t rule) {
  if (rule >= 0 && rule < kStepRules) return static_cast<StepRule>(rule);
  Fail(op, "rule", "0 (lsq), 1 (power_of_two) or 2 (pact)", std::to_string(rule),
       "edgeqat.functional takes the names instead.");
}

inline void CheckNotNegative(std::string_view op, std::string_view argument, double value) {
  if (value >= 0.0 && std::isfinite(value)) return;
  Fail(op, argument, "finite and at least 0", std::to_string(value), "0 switches it off.");
}

// `compact`: the residual is written or read; its byte holds no derivative of hardswish.
inline LsqCheck CheckLsqParams(std::string_view op, const Tensor& data, const Tensor& scale,
                               const LsqOptions& options, bool compact) {
  CheckRange(op, options.qmin, options.qmax);
  LsqCheck check;
  check.granularity = CheckScales(op, data, scale, options.axis, options.group_size);
  check.activation = CheckActivation(op, options.activation);
  check.rule = CheckRule(op, options.rule);
  if (options.offset.has_value()) {
    CheckDtype(op, "offset", *options.offset, ScalarType::Float);
    CheckDevice(op, "offset", *options.offset, data);
    CheckShape(op, "offset", *options.offset, Sizes(scale), "It has the shape of scale.");
    if (check.rule == StepRule::kPact) {
      Fail(op, "offset", "None for the rule pact", "a tensor",
           "PACT clips at 0; use the rule lsq to learn an offset.");
    }
  } else if (options.qmin > 0 || options.qmax < 0) {
    Fail(op, "qmin, qmax", "around 0 without an offset",
         std::to_string(options.qmin) + ", " + std::to_string(options.qmax),
         "Without an offset the zero point is 0, which must be a code.");
  }
  if (compact && !HasBinaryDerivative(check.activation)) {
    Fail(op, "activation", "none, relu or relu6", "hardswish",
         "Its derivative needs x: use save=\"exact\".");
  }
  CheckMask(op, options.mask, data);
  CheckNotNegative(op, "delta", options.delta);
  CheckNotNegative(op, "damping", options.damping);
  if (options.grad_scale.has_value() && !std::isfinite(*options.grad_scale)) {
    Fail(op, "grad_scale", "finite", std::to_string(*options.grad_scale),
         "None takes the factor of the rule's paper.");
  }
  return check;
}

inline LsqCheck CheckLsqForward(std::string_view op, const Tensor& x, const Tensor& scale,
                                const LsqOptions& options, bool with_residual) {
  const FloatType dtype = CheckFloat(op, "x", x);
  LsqCheck check = CheckLsqParams(op, x, scale, options, with_residual);
  check.dtype = dtype;
  return check;
}

// `data` is x, or the residual if `compact`.
inline LsqCheck CheckLsqBackward(std::string_view op, const Tensor& grad, const Tensor& data,
                                 const Tensor& scale, const LsqOptions& options, bool compact) {
  const FloatType dtype = CheckFloat(op, "grad", grad);
  if (compact) {
    CheckDtype(op, "residual", data, ScalarType::Char);
  } else {
    CheckDtype(op, "x", data, grad.scalar_type());
  }
  CheckDevice(op, "grad", grad, data);
  CheckShape(op, "grad", grad, Sizes(data), "grad has the shape of the forward's input.");
  LsqCheck check = CheckLsqParams(op, data, scale, options, compact);
  check.dtype = dtype;
  return check;
}

// The gradient scale of the paper: LSQ's with n elements to a scale; PACT has none.
inline double PaperGradScale(StepRule rule, const QuantLayout& layout, std::int64_t qmax) {
  if (rule == StepRule::kPact) return 1.0;
  const std::int64_t elements = layout.numel() / std::max<std::int64_t>(layout.num_scales(), 1);
  return 1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(elements, 1)) *
                         static_cast<double>(std::max<std::int64_t>(qmax, 1)));
}

// The part of the arguments that forward and backward share; the tensors live as long as it.
template <typename Args>
struct LsqCall {
  Elementwise data;
  Tensor scales;
  OptionalTensor offsets;
  LaidOutMask laid_out_mask;
  Args args;

  LsqCall(const Tensor& x, ScalarType dtype, const Tensor& scale, const LsqOptions& options,
          const LsqCheck& check)
      : data(Prepare(x, dtype, check.granularity, /*row_major=*/false)),
        scales(RowMajor(scale)),
        laid_out_mask(options.mask, data.out) {
    args.dtype = check.dtype;
    args.layout = data.layout;
    args.scale = scales.const_data_ptr<float>();
    if (options.offset.has_value()) {
      offsets = RowMajor(*options.offset);
      args.offset = offsets->const_data_ptr<float>();
    }
    args.mask = laid_out_mask.data();
    args.qmin = static_cast<std::int32_t>(options.qmin);
    args.qmax = static_cast<std::int32_t>(options.qmax);
    args.rule = check.rule;
    args.activation = check.activation;
  }
};

struct LsqForward : LsqCall<LsqFakeQuantizeArgs> {
  OptionalTensor residual;

  LsqForward(const Tensor& x, const Tensor& scale, const LsqOptions& options, const LsqCheck& check,
             bool with_residual)
      : LsqCall(x, x.scalar_type(), scale, options, check) {
    args.x = data.x.const_data_ptr();
    args.y = data.out.mutable_data_ptr();
    if (!with_residual) return;
    residual = EmptyStrided(Sizes(x), Strides(data.out), ScalarType::Char, x);
    args.residual = residual->mutable_data_ptr<std::int8_t>();
  }

  Tensor Finish() { return data.Finish(); }
  std::tuple<Tensor, Tensor> FinishBoth() {
    const Tensor y = data.Finish();
    return {y, WithStridesOf(*residual, y)};
  }
};

struct LsqBackward : LsqCall<LsqFakeQuantizeBackwardArgs> {
  Tensor grads, grad_scale, grad_offset;

  LsqBackward(const Tensor& grad, const Tensor& saved, const Tensor& scale,
              const LsqOptions& options, const LsqCheck& check, bool compact)
      : LsqCall(saved, grad.scalar_type(), scale, options, check),
        grads(WithStridesOf(grad, data.out)),
        grad_scale(EmptyRowMajor(Sizes(scale), ScalarType::Float, scale)) {
    constexpr std::int64_t kNone = 0;  // without an offset its gradient is empty
    grad_offset = options.offset.has_value() ? EmptyRowMajor(Sizes(scale), ScalarType::Float, scale)
                                             : EmptyRowMajor({&kNone, 1}, ScalarType::Float, scale);
    args.grad = grads.const_data_ptr();
    if (compact) {
      args.residual = data.x.const_data_ptr<std::int8_t>();
    } else {
      args.x = data.x.const_data_ptr();
    }
    args.grad_factor = options.grad_scale.has_value()
                           ? *options.grad_scale
                           : PaperGradScale(args.rule, args.layout, options.qmax);
    args.delta = static_cast<float>(options.delta);
    args.damping = static_cast<float>(options.damping);
    args.grad_x = data.out.mutable_data_ptr();
    args.grad_scale = grad_scale.mutable_data_ptr<float>();
    if (options.offset.has_value()) args.grad_offset = grad_offset.mutable_data_ptr<float>();
  }

  std::tuple<Tensor, Tensor, Tensor> Finish() { return {data.Finish(), grad_scale, grad_offset}; }
};

}  // namespace edgeqat::torch_ops
