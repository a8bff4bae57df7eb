// SPDX-License-Identifier: Apache-2.0
// Tensors that an operator changes in place, whatever their memory layout.
#pragma once

#include <string>
#include <string_view>

#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

// `working` is what the kernel changes: the tensor itself, or a copy in the order that the kernel
// needs, which Finish writes back.
struct InPlace {
  Tensor target;
  Tensor working;

  void Finish() {
    if (working.get() != target.get()) torch::stable::copy_(target, working);
  }
};

// The main tensor and how the kernel sees it. A dense tensor (channels_last for example) is changed
// where it lies; groups need row-major order, as in Prepare.
struct InPlaceData {
  InPlace data;
  QuantLayout layout;
};

inline InPlaceData PrepareInPlace(const Tensor& tensor, const Granularity& granularity) {
  const MemoryOrder order = OrderOf(tensor);
  if (order.dense && (order.row_major || !granularity.group_size.has_value())) {
    return {{tensor, tensor}, LayoutInMemory(Sizes(tensor), tensor.numel(), granularity, order)};
  }
  return {{tensor, RowMajor(tensor)},
          LayoutOf(Sizes(tensor), tensor.numel(), granularity, granularity.axis)};
}

// A state tensor that goes along with the main one, element by element.
inline InPlace AlongWith(const Tensor& state, const InPlaceData& main) {
  return {state, WithStridesOf(state, main.data.working)};
}

}  // namespace edgeqat::torch_ops
