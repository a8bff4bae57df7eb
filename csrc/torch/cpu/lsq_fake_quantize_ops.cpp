// SPDX-License-Identifier: Apache-2.0
// lsq_fake_quantize in all its forms, and learned_step, on the CPU.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "edgeqat/lsq_fake_quantize.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/lsq_check.h"
#include "torch/lsq_multi.h"

namespace edgeqat::torch_ops {
namespace {

using OptionalInt = std::optional<std::int64_t>;
using OptionalDouble = std::optional<double>;
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

LsqForward PrepareForward(const char* op, const Tensor& x, const Tensor& scale,
                          const LsqOptions& options, bool with_residual) {
  const LsqCheck check = CheckLsqForward(op, x, scale, options, with_residual);
  CheckFiniteValues(op, "scale", RowMajor(scale));
  if (options.offset.has_value()) CheckFiniteValues(op, "offset", RowMajor(*options.offset));
  return {x, scale, options, check, with_residual};
}

LsqBackward PrepareBackward(const char* op, const Tensor& grad, const Tensor& saved,
                            const Tensor& scale, const LsqOptions& options, bool compact) {
  const LsqCheck check = CheckLsqBackward(op, grad, saved, scale, options, compact);
  return {grad, saved, scale, options, check, compact};
}

}  // namespace

// The last four arguments tell the gradient what to be; here they are only checked.
Tensor lsq_fake_quantize_cpu(const Tensor& x, const Tensor& scale, std::int64_t qmin,
                             std::int64_t qmax, OptionalInt axis, OptionalInt group_size,
                             const OptionalTensor& offset, const OptionalTensor& mask,
                             std::int64_t activation, std::int64_t rule, OptionalDouble grad_scale,
                             double delta, double damping, std::int64_t) {
  const LsqOptions options = {qmin,       qmax, axis,       group_size, offset, mask,
                              activation, rule, grad_scale, delta,      damping};
  LsqForward call = PrepareForward("lsq_fake_quantize", x, scale, options, false);
  edgeqat::lsq_fake_quantize(call.args, TorchPool());
  return call.Finish();
}

std::tuple<Tensor, Tensor> lsq_fake_quantize_train_cpu(
    const Tensor& x, const Tensor& scale, std::int64_t qmin, std::int64_t qmax, OptionalInt axis,
    OptionalInt group_size, const OptionalTensor& offset, const OptionalTensor& mask,
    std::int64_t activation, std::int64_t rule, OptionalDouble grad_scale, double delta) {
  const LsqOptions options = {qmin,       qmax, axis,       group_size, offset, mask,
                              activation, rule, grad_scale, delta,      0.0};
  LsqForward call = PrepareForward("lsq_fake_quantize_train", x, scale, options, true);
  edgeqat::lsq_fake_quantize(call.args, TorchPool());
  return call.FinishBoth();
}

Gradients lsq_fake_quantize_backward_cpu(const Tensor& grad, const Tensor& x, const Tensor& scale,
                                         std::int64_t qmin, std::int64_t qmax, OptionalInt axis,
                                         OptionalInt group_size, const OptionalTensor& offset,
                                         const OptionalTensor& mask, std::int64_t activation,
                                         std::int64_t rule, OptionalDouble grad_scale, double delta,
                                         double damping) {
  const LsqOptions options = {qmin,       qmax, axis,       group_size, offset, mask,
                              activation, rule, grad_scale, delta,      damping};
  LsqBackward call = PrepareBackward("lsq_fake_quantize_backward", grad, x, scale, options, false);
  edgeqat::lsq_fake_quantize_backward(call.args, TorchPool());
  return call.Finish();
}

Gradients lsq_fake_quantize_compact_backward_cpu(
    const Tensor& grad, const Tensor& residual, const Tensor& scale, std::int64_t qmin,
    std::int64_t qmax, OptionalInt axis, OptionalInt group_size, const OptionalTensor& offset,
    std::int64_t activation, std::int64_t rule, OptionalDouble grad_scale, double delta) {
  const LsqOptions options = {qmin,       qmax, axis,       group_size, offset, std::nullopt,
                              activation, rule, grad_scale, delta,      0.0};
  LsqBackward call =
      PrepareBackward("lsq_fake_quantize_compact_backward", grad, residual, scale, options, true);
  edgeqat::lsq_fake_quantize_compact_backward(call.args, TorchPool());
  return call.Finish();
}

Tensors lsq_fake_quantize_multi_cpu(const Tensors& x, const Tensors& scale, const Ints& qmin,
                                    const Ints& qmax, const Ints& axis, const Ints& group_size,
                                    std::int64_t rule, OptionalDouble grad_scale, double delta,
                                    double damping) {
  constexpr const char* kOp = "lsq_fake_quantize_multi";
  std::vector<LsqOptions> options =
      MultiOptions(kOp, x.size(), scale, qmin, qmax, axis, group_size, rule);
  std::vector<LsqForward> calls;
  std::vector<LsqFakeQuantizeArgs> args;
  ForEachTensor(x.size(), [&](std::size_t i) {
    options[i].grad_scale = grad_scale;
    options[i].delta = delta;
    options[i].damping = damping;
    calls.push_back(PrepareForward(kOp, x[i], scale[i], options[i], false));
    args.push_back(calls.back().args);
  });
  edgeqat::lsq_fake_quantize_multi(args, TorchPool());
  Tensors results;
  for (LsqForward& call : calls) results.push_back(call.Finish());
  return results;
}

Tensors lsq_fake_quantize_multi_backward_cpu(const Tensors& grad, const Tensors& x,
                                             const Tensors& scale, const Ints& qmin,
                                             const Ints& qmax, const Ints& axis,
                                             const Ints& group_size, std::int64_t rule,
                                             OptionalDouble grad_scale, double delta,
                                             double damping) {
  constexpr const char* kOp = "lsq_fake_quantize_multi_backward";
  CheckLength(kOp, "grad", grad.size(), x.size());
  std::vector<LsqOptions> options =
      MultiOptions(kOp, x.size(), scale, qmin, qmax, axis, group_size, rule);
  std::vector<LsqBackward> calls;
  std::vector<LsqFakeQuantizeBackwardArgs> args;
  ForEachTensor(x.size(), [&](std::size_t i) {
    options[i].grad_scale = grad_scale;
    options[i].delta = delta;
    options[i].damping = damping;
    calls.push_back(PrepareBackward(kOp, grad[i], x[i], scale[i], options[i], false));
    args.push_back(calls.back().args);
  });
  edgeqat::lsq_fake_quantize_multi_backward(args, TorchPool());
  Tensors results;
  for (LsqBackward& call : calls) results.push_back(call.data.Finish());
  for (LsqBackward& call : calls) results.push_back(call.grad_scale);
  return results;
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
  m.impl("lsq_fake_quantize_multi", TORCH_BOX(&lsq_fake_quantize_multi_cpu));
  m.impl("lsq_fake_quantize_multi_backward", TORCH_BOX(&lsq_fake_quantize_multi_backward_cpu));
}

}  // namespace edgeqat::torch_ops
