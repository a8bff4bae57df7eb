// SPDX-License-Identifier: Apache-2.0
// observe_fake_quantize_ on CUDA.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "cuda/observe_fake_quantize.h"
#include "torch/alloc.h"
#include "torch/check.h"
#include "torch/cuda/device.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

std::tuple<Tensor, Tensor> observe_fake_quantize__cuda(
    const Tensor& x, Tensor min_val, Tensor max_val, Tensor count, Tensor scale, Tensor zero_point,
    std::int64_t qmin, std::int64_t qmax, bool symmetric, std::optional<double> averaging,
    std::optional<std::int64_t> axis, const std::optional<Tensor>& mask, std::int64_t activation) {
  constexpr const char* kOp = "observe_fake_quantize_";
  cuda::ObserveFakeQuantizeUpdateArgs args;
  FakeQuantizeArgs& quantize = args.quantize;
  quantize.dtype = CheckFloat(kOp, "x", x);
  quantize.activation = CheckActivation(kOp, activation);
  CheckRange(kOp, qmin, qmax);
  const Granularity granularity =
      CheckQuantizerState(kOp, x, min_val, max_val, count, scale, zero_point, averaging, axis);
  CheckMask(kOp, mask, x);

  const CudaScope scope(x);
  const std::int64_t bytes = (x.numel() + 7) / 8;
  Tensor bits = EmptyRowMajor({&bytes, 1}, ScalarType::Byte, x);
  // the order of the bits: channels_last data are copied once
  Elementwise data = Prepare(x, x.scalar_type(), granularity, /*row_major=*/true);
  if (x.numel() == 0) return {data.Finish(), bits};
  const LaidOutMask laid_out(mask, data.out);
  quantize.mask = laid_out.data();
  args.symmetric = symmetric;
  args.averaging = static_cast<float>(averaging.value_or(-1.0));
  args.min_val = min_val.mutable_data_ptr<float>();
  args.max_val = max_val.mutable_data_ptr<float>();
  args.count = count.mutable_data_ptr<std::int64_t>();
  args.scale = scale.mutable_data_ptr<float>();
  args.zero_point = zero_point.mutable_data_ptr<std::int32_t>();
  quantize.layout = data.layout;
  quantize.x = data.x.const_data_ptr();
  quantize.scale = args.scale;
  quantize.zero_point = args.zero_point;
  quantize.qmin = static_cast<std::int32_t>(qmin);
  quantize.qmax = static_cast<std::int32_t>(qmax);
  quantize.y = data.out.mutable_data_ptr();
  quantize.bits = bits.mutable_data_ptr<std::uint8_t>();
  const cuda::ObserveFakeQuantizePlan plan = cuda::PlanObserveFakeQuantize(data.layout);
  const std::int64_t workspace_bytes = plan.workspace_bytes();
  const Tensor workspace = EmptyRowMajor({&workspace_bytes, 1}, ScalarType::Byte, x);
  args.workspace = workspace.mutable_data_ptr();
  cuda::observe_fake_quantize_update(args, plan, scope.stream());
  scope.CheckLaunch();
  return {data.Finish(), bits};
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CUDA, m) {
  m.impl("observe_fake_quantize_", TORCH_BOX(&observe_fake_quantize__cuda));
}

}  // namespace edgeqat::torch_ops
