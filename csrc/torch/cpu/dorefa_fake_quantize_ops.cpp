// SPDX-License-Identifier: Apache-2.0
// dorefa_fake_quantize and dorefa_fake_quantize_backward on the CPU.
#include <torch/csrc/stable/library.h>

#include <optional>

#include "edgeqat/dorefa_fake_quantize.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/dorefa_check.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

Tensor dorefa_fake_quantize_cpu(const Tensor& x, std::int64_t qmin, std::int64_t qmax,
                                std::optional<std::int64_t> axis,
                                std::optional<std::int64_t> group_size,
                                const std::optional<Tensor>& mask) {
  constexpr const char* kOp = "dorefa_fake_quantize";
  DorefaFakeQuantizeArgs args;
  args.dtype = CheckFloat(kOp, "x", x);
  CheckDorefaRange(kOp, qmin, qmax);
  const Granularity granularity = CheckGranularity(kOp, x, axis, group_size);
  CheckMask(kOp, mask, x);

  Elementwise data = Prepare(x, x.scalar_type(), granularity, /*row_major=*/false);
  const LaidOutMask laid_out(mask, data.out);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.mask = laid_out.data();
  args.y = data.out.mutable_data_ptr();
  edgeqat::dorefa_fake_quantize(args, TorchPool());
  return data.Finish();
}

Tensor dorefa_fake_quantize_backward_cpu(const Tensor& grad, const Tensor& x,
                                         std::optional<std::int64_t> axis,
                                         std::optional<std::int64_t> group_size,
                                         const std::optional<Tensor>& mask) {
  constexpr const char* kOp = "dorefa_fake_quantize_backward";
  DorefaFakeQuantizeBackwardArgs args;
  args.dtype = CheckFloat(kOp, "x", x);
  CheckDorefaGrad(kOp, grad, x);
  const Granularity granularity = CheckGranularity(kOp, x, axis, group_size);
  CheckMask(kOp, mask, x);

  Elementwise data = Prepare(x, x.scalar_type(), granularity, /*row_major=*/false);
  const Tensor grads = WithStridesOf(grad, data.out);
  const LaidOutMask laid_out(mask, data.out);
  args.layout = data.layout;
  args.grad = grads.const_data_ptr();
  args.x = data.x.const_data_ptr();
  args.mask = laid_out.data();
  args.grad_x = data.out.mutable_data_ptr();
  edgeqat::dorefa_fake_quantize_backward(args, TorchPool());
  return data.Finish();
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("dorefa_fake_quantize", TORCH_BOX(&dorefa_fake_quantize_cpu));
  m.impl("dorefa_fake_quantize_backward", TORCH_BOX(&dorefa_fake_quantize_backward_cpu));
}

}  // namespace edgeqat::torch_ops
