// SPDX-License-Identifier: Apache-2.0
// observe_minmax_ and choose_qparams on CUDA.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "cuda/observer.h"
#include "cuda/qparams.h"
#include "torch/check.h"
#include "torch/cuda/device.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

void observe_minmax__cuda(const Tensor& x, Tensor min_val, Tensor max_val, Tensor count,
                          std::optional<double> averaging, std::optional<std::int64_t> axis,
                          const std::optional<Tensor>& mask) {
  cuda::ObserveMinmaxUpdateArgs args;
  args.dtype = CheckFloat("observe_minmax_", "x", x);
  const Granularity granularity =
      CheckObserverState("observe_minmax_", x, min_val, max_val, count, averaging, axis);
  CheckMask("observe_minmax_", mask, x);
  if (x.numel() == 0) return;

  const CudaScope scope(x);
  const Readable data = PrepareReading(x, granularity);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  const LaidOutMask laid_out(mask, data.x);
  args.mask = laid_out.data();
  args.averaging = static_cast<float>(averaging.value_or(-1.0));
  args.min_val = min_val.mutable_data_ptr<float>();
  args.max_val = max_val.mutable_data_ptr<float>();
  args.count = count.mutable_data_ptr<std::int64_t>();
  // torch's allocator: reused without waiting, also inside a CUDA graph capture
  const cuda::ObservePlan plan = cuda::PlanObserveMinmax(args.layout);
  const std::int64_t bytes = plan.workspace_bytes();
  const Tensor workspace = EmptyRowMajor({&bytes, 1}, ScalarType::Byte, x);
  args.workspace = workspace.mutable_data_ptr();
  cuda::observe_minmax_update(args, plan, scope.stream());
  scope.CheckLaunch();
}

std::tuple<Tensor, Tensor> choose_qparams_cuda(const Tensor& min_val, const Tensor& max_val,
                                               std::int64_t qmin, std::int64_t qmax,
                                               bool symmetric) {
  constexpr const char* kOp = "choose_qparams";
  CheckDtype(kOp, "min_val", min_val, ScalarType::Float);
  CheckDtype(kOp, "max_val", max_val, ScalarType::Float);
  CheckDevice(kOp, "max_val", max_val, min_val);
  CheckShape(kOp, "max_val", max_val, Sizes(min_val), "It has the shape of min_val.");
  CheckRange(kOp, qmin, qmax);

  const CudaScope scope(min_val);
  const Tensor low = RowMajor(min_val);
  const Tensor high = RowMajor(max_val);
  Tensor scale = EmptyRowMajor(Sizes(min_val), ScalarType::Float, min_val);
  Tensor zero_point = EmptyRowMajor(Sizes(min_val), ScalarType::Int, min_val);
  cuda::choose_qparams({.min_val = low.const_data_ptr<float>(),
                        .max_val = high.const_data_ptr<float>(),
                        .count = min_val.numel(),
                        .qmin = static_cast<std::int32_t>(qmin),
                        .qmax = static_cast<std::int32_t>(qmax),
                        .symmetric = symmetric,
                        .scale = scale.mutable_data_ptr<float>(),
                        .zero_point = zero_point.mutable_data_ptr<std::int32_t>()},
                       scope.stream());
  scope.CheckLaunch();
  return {scale, zero_point};
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CUDA, m) {
  m.impl("observe_minmax_", TORCH_BOX(&observe_minmax__cuda));
  m.impl("choose_qparams", TORCH_BOX(&choose_qparams_cuda));
}

}  // namespace edgeqat::torch_ops
