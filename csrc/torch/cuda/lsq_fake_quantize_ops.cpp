// SPDX-License-Identifier: Apache-2.0
// lsq_fake_quantize in all its forms, and learned_step, on CUDA.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "cuda/lsq_fake_quantize.h"
#include "torch/check.h"
#include "torch/cuda/device.h"
#include "torch/lsq_check.h"
#include "torch/lsq_multi.h"

namespace edgeqat::torch_ops {
namespace {

using OptionalInt = std::optional<std::int64_t>;
using OptionalDouble = std::optional<double>;
using Gradients = std::tuple<Tensor, Tensor, Tensor>;

// torch's allocator: reused without waiting, also inside a CUDA graph capture.
Tensor Workspace(std::int64_t bytes, const Tensor& device_of) {
  return EmptyRowMajor({&bytes, 1}, ScalarType::Byte, device_of);
}

Gradients RunBackward(const char* op, const Tensor& grad, const Tensor& saved, const Tensor& scale,
                      const LsqOptions& options, bool compact) {
  const LsqCheck check = CheckLsqBackward(op, grad, saved, scale, options, compact);
  const CudaScope scope(saved);
  LsqBackward call(grad, saved, scale, options, check, compact);
  Tensor workspace = Workspace(cuda::PlanSums(call.args.layout).workspace_bytes(), saved);
  const auto launch =
      compact ? cuda::lsq_fake_quantize_compact_backward : cuda::lsq_fake_quantize_backward;
  launch(call.args, workspace.mutable_data_ptr(), scope.stream());
  scope.CheckLaunch();
  return call.Finish();
}

}  // namespace

// The last four arguments tell the gradient what to be; here they are only checked.
Tensor lsq_fake_quantize_cuda(const Tensor& x, const Tensor& scale, std::int64_t qmin,
                              std::int64_t qmax, OptionalInt axis, OptionalInt group_size,
                              const OptionalTensor& offset, const OptionalTensor& mask,
                              std::int64_t activation, std::int64_t rule, OptionalDouble grad_scale,
                              double delta, double damping, std::int64_t) {
  const LsqOptions options = {qmin,       qmax, axis,       group_size, offset, mask,
                              activation, rule, grad_scale, delta,      damping};
  const LsqCheck check = CheckLsqForward("lsq_fake_quantize", x, scale, options, false);
  const CudaScope scope(x);
  LsqForward call(x, scale, options, check, false);
  cuda::lsq_fake_quantize(call.args, scope.stream());
  scope.CheckLaunch();
  return call.Finish();
}

std::tuple<Tensor, Tensor> lsq_fake_quantize_train_cuda(
    const Tensor& x, const Tensor& scale, std::int64_t qmin, std::int64_t qmax, OptionalInt axis,
    OptionalInt group_size, const OptionalTensor& offset, const OptionalTensor& mask,
    std::int64_t activation, std::int64_t rule, OptionalDouble grad_scale, double delta) {
  const LsqOptions options = {qmin,       qmax, axis,       group_size, offset, mask,
                              activation, rule, grad_scale, delta,      0.0};
  const LsqCheck check = CheckLsqForward("lsq_fake_quantize_train", x, scale, options, true);
  const CudaScope scope(x);
  LsqForward call(x, scale, options, check, true);
  cuda::lsq_fake_quantize(call.args, scope.stream());
  scope.CheckLaunch();
  return call.FinishBoth();
}

Gradients lsq_fake_quantize_backward_cuda(const Tensor& grad, const Tensor& x, const Tensor& scale,
                                          std::int64_t qmin, std::int64_t qmax, OptionalInt axis,
                                          OptionalInt group_size, const OptionalTensor& offset,
                                          const OptionalTensor& mask, std::int64_t activation,
                                          std::int64_t rule, OptionalDouble grad_scale,
                                          double delta, double damping) {
  const LsqOptions options = {qmin,       qmax, axis,       group_size, offset, mask,
                              activation, rule, grad_scale, delta,      damping};
  return RunBackward("lsq_fake_quantize_backward", grad, x, scale, options, false);
}

Gradients lsq_fake_quantize_compact_backward_cuda(
    const Tensor& grad, const Tensor& residual, const Tensor& scale, std::int64_t qmin,
    std::int64_t qmax, OptionalInt axis, OptionalInt group_size, const OptionalTensor& offset,
    std::int64_t activation, std::int64_t rule, OptionalDouble grad_scale, double delta) {
  const LsqOptions options = {qmin,       qmax, axis,       group_size, offset, std::nullopt,
                              activation, rule, grad_scale, delta,      0.0};
  return RunBackward("lsq_fake_quantize_compact_backward", grad, residual, scale, options, true);
}

Tensors lsq_fake_quantize_multi_cuda(const Tensors& x, const Tensors& scale, const Ints& qmin,
                                     const Ints& qmax, const Ints& axis, const Ints& group_size,
                                     std::int64_t rule, OptionalDouble grad_scale, double delta,
                                     double damping) {
  constexpr const char* kOp = "lsq_fake_quantize_multi";
  std::vector<LsqOptions> options =
      MultiOptions(kOp, x.size(), scale, qmin, qmax, axis, group_size, rule);
  std::vector<LsqCheck> checks;
  ForEachTensor(x.size(), [&](std::size_t i) {
    options[i].grad_scale = grad_scale;
    options[i].delta = delta;
    options[i].damping = damping;
    CheckDevice(kOp, "x", x[i], x[0]);
    checks.push_back(CheckLsqForward(kOp, x[i], scale[i], options[i], false));
  });
  if (x.empty()) return {};
  const CudaScope scope(x[0]);
  std::vector<LsqForward> calls;
  std::vector<LsqFakeQuantizeArgs> args;
  for (std::size_t i = 0; i < x.size(); ++i) {
    calls.emplace_back(x[i], scale[i], options[i], checks[i], false);
    args.push_back(calls.back().args);
  }
  cuda::lsq_fake_quantize_multi(args, scope.stream());
  scope.CheckLaunch();
  Tensors results;
  for (LsqForward& call : calls) results.push_back(call.Finish());
  return results;
}

Tensors lsq_fake_quantize_multi_backward_cuda(const Tensors& grad, const Tensors& x,
                                              const Tensors& scale, const Ints& qmin,
                                              const Ints& qmax, const Ints& axis,
                                              const Ints& group_size, std::int64_t rule,
                                              OptionalDouble grad_scale, double delta,
                                              double damping) {
  constexpr const char* kOp = "lsq_fake_quantize_multi_backward";
  CheckLength(kOp, "grad", grad.size(), x.size());
  std::vector<LsqOptions> options =
      MultiOptions(kOp, x.size(), scale, qmin, qmax, axis, group_size, rule);
  std::vector<LsqCheck> checks;
  ForEachTensor(x.size(), [&](std::size_t i) {
    options[i].grad_scale = grad_scale;
    options[i].delta = delta;
    options[i].damping = damping;
    CheckDevice(kOp, "x", x[i], x[0]);
    checks.push_back(CheckLsqBackward(kOp, grad[i], x[i], scale[i], options[i], false));
  });
  if (x.empty()) return {};
  const CudaScope scope(x[0]);
  std::vector<LsqBackward> calls;
  std::vector<LsqFakeQuantizeBackwardArgs> args;
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    calls.emplace_back(grad[i], x[i], scale[i], options[i], checks[i], false);
    args.push_back(calls.back().args);
    bytes = std::max(bytes, cuda::PlanSums(args.back().layout).workspace_bytes());
  }
  Tensor workspace = Workspace(bytes, x[0]);
  cuda::lsq_fake_quantize_multi_backward(args, workspace.mutable_data_ptr(), scope.stream());
  scope.CheckLaunch();
  Tensors results;
  for (LsqBackward& call : calls) results.push_back(call.data.Finish());
  for (LsqBackward& call : calls) results.push_back(call.grad_scale);
  return results;
}

Tensor learned_step_cuda(const Tensor& scale, std::int64_t qmin, std::int64_t qmax,
                         std::int64_t rule) {
  constexpr const char* kOp = "learned_step";
  CheckDtype(kOp, "scale", scale, ScalarType::Float);
  CheckRange(kOp, qmin, qmax);
  const StepRule step_rule = CheckRule(kOp, rule);
  const CudaScope scope(scale);
  const Tensor scales = RowMajor(scale);
  Tensor step = EmptyRowMajor(Sizes(scale), ScalarType::Float, scale);
  cuda::learned_step({.scale = scales.const_data_ptr<float>(),
                      .count = scale.numel(),
                      .qmin = static_cast<std::int32_t>(qmin),
                      .qmax = static_cast<std::int32_t>(qmax),
                      .rule = step_rule,
                      .step = step.mutable_data_ptr<float>()},
                     scope.stream());
  scope.CheckLaunch();
  return step;
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CUDA, m) {
  m.impl("learned_step", TORCH_BOX(&learned_step_cuda));
  m.impl("lsq_fake_quantize", TORCH_BOX(&lsq_fake_quantize_cuda));
  m.impl("lsq_fake_quantize_train", TORCH_BOX(&lsq_fake_quantize_train_cuda));
  m.impl("lsq_fake_quantize_backward", TORCH_BOX(&lsq_fake_quantize_backward_cuda));
  m.impl("lsq_fake_quantize_compact_backward", TORCH_BOX(&lsq_fake_quantize_compact_backward_cuda));
  m.impl("lsq_fake_quantize_multi", TORCH_BOX(&lsq_fake_quantize_multi_cuda));
  m.impl("lsq_fake_quantize_multi_backward", TORCH_BOX(&lsq_fake_quantize_multi_backward_cuda));
}

}  // namespace edgeqat::torch_ops
