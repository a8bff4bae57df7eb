// SPDX-License-Identifier: Apache-2.0
// lsq_fake_quantize, its training form, both backward passes and learned_step on the CPU.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "edgeqat/lsq_fake_quantize.h"
#include "torch/alloc.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/elementwise.h"
#include "torch/lsq_check.h"

namespace edgeqat::torch_ops {
namespace {

using OptionalInt = std::optional<std::int64_t>;
using OptionalTensor = std::optional<Tensor>;
using Gradients = std::tuple<Tensor, Tensor, Tensor>;

void CheckFiniteValues(const char* op, const char* argument, const Tensor& tensor) {
  const float* const values = tensor.const_data_ptr<float>();
  const std::int64_t count = tensor.numel();
  float sum = 0.0F;  // 0 * x is 0, but NaN for NaN and infinities
  for (std::int64_t i = 0; i < count; ++i) sum += 0.0F * values[i];
  if (sum == 0.0F) return;
  for (std::int64_t i = 0; i < count; ++i) {
    if (0.0F * values[i] == 0.0F) continue;
    Fail(op, argument, "finite", std::to_string(values[i]) + " at position " + std::to_string(i),
         "A learned parameter that diverged: lower its learning rate or clip its gradient.");
  }
}

// Both forms: `residual` is the tensor to fill, or absent.
Tensor Run(const char* op, const Tensor& x, const Tensor& scale, std::int64_t qmin,
           std::int64_t qmax, OptionalInt axis, OptionalInt group_size,
           const OptionalTensor& offset, const OptionalTensor& mask, std::int64_t activation,
           std::int64_t rule, Tensor* residual) {
  LsqFakeQuantizeArgs args;
  args.dtype = CheckFloat(op, "x", x);
  const LearnedParams params =
      CheckLearnedParams(op, x, scale, qmin, qmax, axis, group_size, offset, activation, rule);
  if (residual != nullptr) CheckCompact(op, params.activation);
  CheckMask(op, mask, x);
  const Tensor scales = RowMajor(scale);
  CheckFiniteValues(op, "scale", scales);
  OptionalTensor offsets;
  if (offset.has_value()) {
    offsets = RowMajor(*offset);
    CheckFiniteValues(op, "offset", *offsets);
    args.offset = offsets->const_data_ptr<float>();
  }
  Elementwise data = Prepare(x, x.scalar_type(), params.granularity, /*row_major=*/false);
  const OptionalTensor laid_out = AsLaidOut(mask, data);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  args.scale = scales.const_data_ptr<float>();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.rule = params.rule;
  args.activation = params.activation;
  if (laid_out.has_value()) {
    args.mask = static_cast<const std::uint8_t*>(laid_out->const_data_ptr());
  }
  args.y = data.out.mutable_data_ptr();
  if (residual == nullptr) {
    edgeqat::lsq_fake_quantize(args, TorchPool());
    return data.Finish();
  }
  Tensor bytes = EmptyStrided(Sizes(x), Strides(data.out), ScalarType::Char, x);
  args.residual = bytes.mutable_data_ptr<std::int8_t>();
  edgeqat::lsq_fake_quantize(args, TorchPool());
  *residual = WithStridesOf(bytes, data.result);
  return data.Finish();
}

// `data` is x or the residual, whose strides the gradient takes.
Gradients RunBackward(const char* op, const Tensor& grad, const Tensor& data, bool compact,
                      const Tensor& scale, std::int64_t qmin, std::int64_t qmax, OptionalInt axis,
                      OptionalInt group_size, const OptionalTensor& offset,
                      const OptionalTensor& mask, std::int64_t activation, std::int64_t rule,
                      std::optional<double> grad_scale, double delta, double damping) {
  LsqFakeQuantizeBackwardArgs args;
  args.dtype = CheckFloat(op, "grad", grad);
  if (compact) {
    CheckDtype(op, "residual", data, ScalarType::Char);
  } else {
    CheckDtype(op, "x", data, grad.scalar_type());
  }
  CheckGrad(op, grad, data);
  const LearnedParams params =
      CheckLearnedParams(op, data, scale, qmin, qmax, axis, group_size, offset, activation, rule);
  if (compact) CheckCompact(op, params.activation);
  CheckMask(op, mask, data);
  CheckNotNegative(op, "delta", delta);
  CheckNotNegative(op, "damping", damping);
  const Tensor scales = RowMajor(scale);
  OptionalTensor offsets;
  if (offset.has_value()) {
    offsets = RowMajor(*offset);
    args.offset = offsets->const_data_ptr<float>();
  }
  Elementwise flat = Prepare(data, grad.scalar_type(), params.granularity, /*row_major=*/false);
  const Tensor grads = WithStridesOf(grad, flat.out);
  const OptionalTensor laid_out = AsLaidOut(mask, flat);
  ParamGradients result = EmptyParamGradients(scale, offset.has_value());
  args.layout = flat.layout;
  args.grad = grads.const_data_ptr();
  if (compact) {
    args.residual = flat.x.const_data_ptr<std::int8_t>();
  } else {
    args.x = flat.x.const_data_ptr();
  }
  args.scale = scales.const_data_ptr<float>();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.rule = params.rule;
  args.activation = params.activation;
  if (laid_out.has_value()) {
    args.mask = static_cast<const std::uint8_t*>(laid_out->const_data_ptr());
  }
  args.grad_factor = GradFactor(op, grad_scale, args.layout, qmax);
  args.delta = static_cast<float>(delta);
  args.damping = static_cast<float>(damping);
  args.grad_x = flat.out.mutable_data_ptr();
  args.grad_scale = result.scale.mutable_data_ptr<float>();
  args.grad_offset = result.offset.mutable_data_ptr<float>();
  if (compact) {
    edgeqat::lsq_fake_quantize_compact_backward(args, TorchPool());
  } else {
    edgeqat::lsq_fake_quantize_backward(args, TorchPool());
  }
  return {flat.Finish(), result.scale, result.offset};
}

}  // namespace

// The last four arguments tell the gradient what to be; they change nothing here.
Tensor lsq_fake_quantize_cpu(const Tensor& x, const Tensor& scale, std::int64_t qmin,
                             std::int64_t qmax, OptionalInt axis, OptionalInt group_size,
                             const OptionalTensor& offset, const OptionalTensor& mask,
                             std::int64_t activation, std::int64_t rule, std::optional<double>,
                             double, double, std::int64_t) {
  return Run("lsq_fake_quantize", x, scale, qmin, qmax, axis, group_size, offset, mask, activation,
             rule, nullptr);
}

std::tuple<Tensor, Tensor> lsq_fake_quantize_train_cpu(
    const Tensor& x, const Tensor& scale, std::int64_t qmin, std::int64_t qmax, OptionalInt axis,
    OptionalInt group_size, const OptionalTensor& offset, const OptionalTensor& mask,
    std::int64_t activation, std::int64_t rule, std::optional<double>, double) {
  Tensor residual;
  Tensor y = Run("lsq_fake_quantize_train", x, scale, qmin, qmax, axis, group_size, offset, mask,
                 activation, rule, &residual);
  return {y, residual};
}

Gradients lsq_fake_quantize_backward_cpu(const Tensor& grad, const Tensor& x, const Tensor& scale,
                                         std::int64_t qmin, std::int64_t qmax, OptionalInt axis,
                                         OptionalInt group_size, const OptionalTensor& offset,
                                         const OptionalTensor& mask, std::int64_t activation,
                                         std::int64_t rule, std::optional<double> grad_scale,
                                         double delta, double damping) {
  return RunBackward("lsq_fake_quantize_backward", grad, x, /*compact=*/false, scale, qmin, qmax,
                     axis, group_size, offset, mask, activation, rule, grad_scale, delta, damping);
}

Gradients lsq_fake_quantize_compact_backward_cpu(
    const Tensor& grad, const Tensor& residual, const Tensor& scale, std::int64_t qmin,
    std::int64_t qmax, OptionalInt axis, OptionalInt group_size, const OptionalTensor& offset,
    std::int64_t activation, std::int64_t rule, std::optional<double> grad_scale, double delta) {
  return RunBackward("lsq_fake_quantize_compact_backward", grad, residual, /*compact=*/true, scale,
                     qmin, qmax, axis, group_size, offset, std::nullopt, activation, rule,
                     grad_scale, delta, 0.0);
}

Tensor learned_step_cpu(const Tensor& scale, std::int64_t qmin, std::int64_t qmax,
                        std::int64_t rule) {
  constexpr const char* kOp = "learned_step";
  CheckDtype(kOp, "scale", scale, ScalarType::Float);
  CheckRange(kOp, qmin, qmax);
  const StepRule step_rule = CheckRule(kOp, rule);
  const Tensor scales = RowMajor(scale);
  CheckFiniteValues(kOp, "scale", scales);
  Tensor step = EmptyRowMajor(Sizes(scale), ScalarType::Float, scale);
  edgeqat::learned_step({.scale = scales.const_data_ptr<float>(),
                         .count = scale.numel(),
                         .qmin = static_cast<std::int32_t>(qmin),
                         .qmax = static_cast<std::int32_t>(qmax),
                         .rule = step_rule,
                         .step = step.mutable_data_ptr<float>()});
  return step;
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("learned_step", TORCH_BOX(&learned_step_cpu));
  m.impl("lsq_fake_quantize", TORCH_BOX(&lsq_fake_quantize_cpu));
  m.impl("lsq_fake_quantize_train", TORCH_BOX(&lsq_fake_quantize_train_cpu));
  m.impl("lsq_fake_quantize_backward", TORCH_BOX(&lsq_fake_quantize_backward_cpu));
  m.impl("lsq_fake_quantize_compact_backward", TORCH_BOX(&lsq_fake_quantize_compact_backward_cpu));
}

}  // namespace edgeqat::torch_ops
