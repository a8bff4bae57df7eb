// SPDX-License-Identifier: Apache-2.0
// Fake quantization that measures the range of what it quantizes on the way.
#pragma once

#include <cstdint>

#include "edgeqat/fake_quantize.h"
#include "edgeqat/parallel.h"

namespace edgeqat {

// fake_quantize, and observe_minmax of the activated values, in one read of x: the range that the
// next batch is quantized with costs no pass of its own. y and bits are those of
// fake_quantize(args); min and max those of observe_minmax on activation(x), per scale of the
// layout. With a mask both are of the elements that it keeps: the range of a pruned weight is that
// of its survivors.
struct ObserveFakeQuantizeArgs {
  FakeQuantizeArgs quantize;  // bits are required
  float* min = nullptr;       // quantize.layout.num_scales(), overwritten
  float* max = nullptr;       // quantize.layout.num_scales(), overwritten
};
// Returns the number of non-finite activated values that the mask keeps.
[[nodiscard]] std::int64_t observe_fake_quantize(const ObserveFakeQuantizeArgs& args,
                                                 const ParallelFor& pool = {});

}  // namespace edgeqat
