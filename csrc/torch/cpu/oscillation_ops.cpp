// SPDX-License-Identifier: Apache-2.0
// oscillation_update_ on the CPU.
#include <torch/csrc/stable/library.h>

#include <optional>

#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/oscillation.h"

namespace edgeqat::torch_ops {

void oscillation_update__cpu(Tensor weight, const Tensor& scale, const Tensor& zero_point,
                             std::int64_t qmin, std::int64_t qmax, Tensor codes, Tensor direction,
                             Tensor frequency, Tensor mean_code, Tensor frozen, double momentum,
                             std::optional<double> freeze_threshold,
                             std::optional<std::int64_t> axis,
                             std::optional<std::int64_t> group_size) {
  constexpr const char* kOp = "oscillation_update_";
  const FloatType dtype = CheckFloat(kOp, "weight", weight);
  CheckOscillationOptions(qmin, qmax, momentum, freeze_threshold);
  const Granularity granularity = CheckQParams(kOp, weight, scale, zero_point, axis, group_size);
  const Tensor scales = RowMajor(scale);
  const Tensor zero_points = RowMajor(zero_point);
  CheckScaleValues(kOp, scales);
  CheckZeroPointValues(kOp, zero_points, qmin, qmax);
  OscillationTensors tensors =
      PrepareOscillation(weight, codes, direction, frequency, mean_code, frozen, granularity);
  OscillationUpdateArgs args = OscillationArgs(tensors, qmin, qmax, momentum, freeze_threshold);
  args.dtype = dtype;
  args.scale = scales.const_data_ptr<float>();
  args.zero_point = zero_points.const_data_ptr<std::int32_t>();
  edgeqat::oscillation_update(args, TorchPool());
  tensors.Finish();
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("oscillation_update_", TORCH_BOX(&oscillation_update__cpu));
}

}  // namespace edgeqat::torch_ops
