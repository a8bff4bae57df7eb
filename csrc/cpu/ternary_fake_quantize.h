// SPDX-License-Identifier: Apache-2.0
// What the kernel of ternary_fake_quantize takes once thresholds and scales are known.
#pragma once

#include "edgeqat/ternary_fake_quantize.h"

namespace edgeqat::cpu {

struct TernaryApplyArgs {
  TernaryFakeQuantizeArgs tensors;   // its scale is read here
  const float* threshold = nullptr;  // layout.num_scales()
};

}  // namespace edgeqat::cpu
