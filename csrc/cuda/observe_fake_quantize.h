// SPDX-License-Identifier: Apache-2.0
// Launcher of observe_fake_quantize_: quantization with the range known so far, and the update of
// the range, all on the device.
#pragma once

#include <cstdint>

#include "cuda/observer.h"
#include "cuda/stream.h"
#include "edgeqat/fake_quantize.h"

namespace edgeqat::cuda {

// What the launcher needs: partial results and one flag.
struct ObserveFakeQuantizePlan {
  ObservePlan observe;
  int blocks = 0;  // of the quantizing kernel

  [[nodiscard]] std::int64_t partial_bytes() const {
    const std::int64_t fused = blocks * static_cast<std::int64_t>(sizeof(MinMax));
    return fused > observe.workspace_bytes() ? fused : observe.workspace_bytes();
  }
  [[nodiscard]] std::int64_t workspace_bytes() const { return partial_bytes() + 16; }
};
ObserveFakeQuantizePlan PlanObserveFakeQuantize(const QuantLayout& layout);

// Semantics of observe_fake_quantize_ (schema.cpp). quantize.scale and quantize.zero_point are
// those of the state. Per tensor, x is read once; per channel, a second kernel observes. A batch
// that finds a channel without a range is quantized once more with its own, decided on the device:
// the launches are the same for every batch, so that they fit into a CUDA graph.
struct ObserveFakeQuantizeUpdateArgs {
  FakeQuantizeArgs quantize;
  bool symmetric = false;
  float averaging = -1.0f;   // < 0: running minimum and maximum
  float* min_val = nullptr;  // layout.num_scales(), as the next three
  float* max_val = nullptr;
  float* scale = nullptr;
  std::int32_t* zero_point = nullptr;
  std::int64_t* count = nullptr;  // {batches, non-finite values}
  void* workspace = nullptr;      // plan.workspace_bytes(), 16-byte aligned
};
void observe_fake_quantize_update(const ObserveFakeQuantizeUpdateArgs& args,
                                  const ObserveFakeQuantizePlan& plan, cudaStream_t stream);

}  // namespace edgeqat::cuda
