// SPDX-License-Identifier: Apache-2.0
// Statistics of a tensor that choose_qparams turns into a scale and a zero point.
#pragma once

#include <cstdint>

#include "edgeqat/parallel.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

// The smallest and the largest finite value per channel, and how many values were not finite.
// NaN and +-Inf are skipped and counted: one Inf would otherwise make every other code 0.
// A channel without a finite value gets min = +inf, max = -inf. -0 counts as +0, so the result does
// not depend on the order in which threads see the values. Elements whose mask is 0 are not there:
// neither seen nor counted.
struct ObserveMinmaxArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* x = nullptr;
  const std::uint8_t* mask = nullptr;  // optional: one byte per element, 0 = pruned
  float* min = nullptr;                // layout.num_scales(), overwritten
  float* max = nullptr;                // layout.num_scales(), overwritten
};
// Returns the number of non-finite values.
[[nodiscard]] std::int64_t observe_minmax(const ObserveMinmaxArgs& args,
                                          const ParallelFor& pool = {});

// Takes one batch into the running state of `count` channels; a state starts at +inf / -inf.
//   averaging < 0:  state = min(state, batch), max(state, batch)
//   averaging = c:  the first batch sets the state, then state += c * (batch - state), in float32
// A channel for which the batch has no finite value keeps its state.
void UpdateMinmax(const float* batch_min, const float* batch_max, std::int64_t count,
                  float averaging, float* state_min, float* state_max);

}  // namespace edgeqat
