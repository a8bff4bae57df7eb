// SPDX-License-Identifier: Apache-2.0
// What only the CPU operators can do: look at the values of scales, and lend torch's thread pool.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <limits>
#include <string>

#include "edgeqat/parallel.h"
#include "torch/check.h"

namespace edgeqat::torch_ops {

inline ParallelFor TorchPool() {
  return [](std::int64_t count, const RangeBody& body) {
    torch::stable::parallel_for(0, count, 1, body);
  };
}

inline void CheckScaleValues(std::string_view op, const Tensor& scale) {
  const float* const values = scale.const_data_ptr<float>();
  const std::int64_t count = scale.numel();
  constexpr float kMax = std::numeric_limits<float>::max();
  bool good = true;
  for (std::int64_t i = 0; i < count; ++i) good &= values[i] > 0.0F && values[i] <= kMax;
  if (good) return;
  for (std::int64_t i = 0; i < count; ++i) {
    if (values[i] > 0.0F && values[i] <= kMax) continue;
    Fail(op, "scale", "finite and above 0",
         std::to_string(values[i]) + " at position " + std::to_string(i),
         "Use choose_qparams, which gives dead channels the scale 1, or clamp a learned scale.");
  }
}

inline void CheckZeroPointValues(std::string_view op, const Tensor& zero_point, std::int64_t qmin,
                                 std::int64_t qmax) {
  const std::int32_t* const values = zero_point.const_data_ptr<std::int32_t>();
  const std::int64_t count = zero_point.numel();
  bool good = true;
  for (std::int64_t i = 0; i < count; ++i) good &= values[i] >= qmin && values[i] <= qmax;
  if (good) return;
  for (std::int64_t i = 0; i < count; ++i) {
    if (values[i] >= qmin && values[i] <= qmax) continue;
    Fail(op, "zero_point", "in [" + std::to_string(qmin) + ", " + std::to_string(qmax) + "]",
         std::to_string(values[i]) + " at position " + std::to_string(i),
         "A zero point is a code: clamp it into [qmin, qmax].");
  }
}

}  // namespace edgeqat::torch_ops
