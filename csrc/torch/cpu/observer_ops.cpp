// SPDX-License-Identifier: Apache-2.0
// observe_minmax_ and choose_qparams on the CPU.
#include <torch/csrc/stable/library.h>

#include <array>
#include <optional>
#include <tuple>
#include <vector>

#include "edgeqat/observer.h"
#include "edgeqat/qparams.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

void observe_minmax__cpu(const Tensor& x, Tensor min_val, Tensor max_val, Tensor count,
                         std::optional<double> averaging, std::optional<std::int64_t> axis,
                         const std::optional<Tensor>& mask) {
  ObserveMinmaxArgs args;
  args.dtype = CheckFloat("observe_minmax_", "x", x);
  const Granularity granularity =
      CheckObserverState("observe_minmax_", x, min_val, max_val, count, averaging, axis);
  CheckMask("observe_minmax_", mask, x);
  if (x.numel() == 0) return;
  const Readable data = PrepareReading(x, granularity);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  const LaidOutMask laid_out(mask, data.x);
  args.mask = laid_out.data();
  std::vector<float> low(args.layout.num_scales());
  std::vector<float> high(args.layout.num_scales());
  args.min = low.data();
  args.max = high.data();
  const std::int64_t non_finite = edgeqat::observe_minmax(args, TorchPool());
  UpdateMinmax(low.data(), high.data(), std::ssize(low),
               static_cast<float>(averaging.value_or(-1.0)), min_val.mutable_data_ptr<float>(),
               max_val.mutable_data_ptr<float>());
  auto* const counts = count.mutable_data_ptr<std::int64_t>();
  counts[0] += 1;
  counts[1] += non_finite;
}

std::tuple<Tensor, Tensor> choose_qparams_cpu(const Tensor& min_val, const Tensor& max_val,
                                              std::int64_t qmin, std::int64_t qmax,
                                              bool symmetric) {
  constexpr const char* kOp = "choose_qparams";
  CheckDtype(kOp, "min_val", min_val, ScalarType::Float);
  CheckDtype(kOp, "max_val", max_val, ScalarType::Float);
  CheckDevice(kOp, "max_val", max_val, min_val);
  CheckShape(kOp, "max_val", max_val, Sizes(min_val), "It has the shape of min_val.");
  CheckRange(kOp, qmin, qmax);
  const Tensor low = RowMajor(min_val);
  const Tensor high = RowMajor(max_val);
  Tensor scale = EmptyRowMajor(Sizes(min_val), ScalarType::Float, min_val);
  Tensor zero_point = EmptyRowMajor(Sizes(min_val), ScalarType::Int, min_val);
  const auto* const lows = low.const_data_ptr<float>();
  const auto* const highs = high.const_data_ptr<float>();
  auto* const scales = scale.mutable_data_ptr<float>();
  auto* const zero_points = zero_point.mutable_data_ptr<std::int32_t>();
  const std::int64_t count = min_val.numel();
  for (std::int64_t c = 0; c < count; ++c) {
    const QParams qparams = ChooseQParams(lows[c], highs[c], static_cast<std::int32_t>(qmin),
                                          static_cast<std::int32_t>(qmax), symmetric);
    scales[c] = qparams.scale;
    zero_points[c] = qparams.zero_point;
  }
  return {scale, zero_point};
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("observe_minmax_", TORCH_BOX(&observe_minmax__cpu));
  m.impl("choose_qparams", TORCH_BOX(&choose_qparams_cpu));
}

}  // namespace edgeqat::torch_ops
