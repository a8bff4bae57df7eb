// SPDX-License-Identifier: Apache-2.0
// Launcher of observe_minmax_: batch statistics and the update of the state, all on the device.
#pragma once

#include <cstdint>

#include "cuda/observer_plan.h"
#include "cuda/stream.h"
#include "edgeqat/activation.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::cuda {

// The plan for the current device; workspace_bytes() of it is what the launcher needs.
ObservePlan PlanObserveMinmax(const QuantLayout& layout);

// Semantics of observe_minmax followed by UpdateMinmax (edgeqat/observer.h), and count += {1,
// number of non-finite values}. Pointers are device memory; conditions on streams as in
// cuda/fake_quantize.h: an empty x changes nothing. Deterministic: the same x gives the same bits
// on every device.
struct ObserveMinmaxUpdateArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* x = nullptr;
  const std::uint8_t* mask = nullptr;                 // optional, laid out as x; 0 = not there
  float averaging = -1.0f;                            // < 0: running minimum and maximum
  float* min_val = nullptr;                           // layout.num_scales()
  float* max_val = nullptr;                           // layout.num_scales()
  std::int64_t* count = nullptr;                      // {batches, non-finite values}
  void* workspace = nullptr;                          // plan.workspace_bytes(), 16-byte aligned
  ActivationKind activation = ActivationKind::kNone;  // activation(x) is observed
};
void observe_minmax_update(const ObserveMinmaxUpdateArgs& args, const ObservePlan& plan,
                           cudaStream_t stream);

}  // namespace edgeqat::cuda
