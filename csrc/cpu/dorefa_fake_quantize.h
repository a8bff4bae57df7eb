// SPDX-License-Identifier: Apache-2.0
// What the kernels of dorefa_fake_quantize take once the divisors, tanh(max |x|), are known.
#pragma once

#include "edgeqat/dorefa_fake_quantize.h"

namespace edgeqat::cpu {

struct DorefaApplyArgs {
  DorefaFakeQuantizeArgs tensors;
  const float* divisor = nullptr;  // layout.num_scales()
};

struct DorefaBackwardApplyArgs {
  DorefaFakeQuantizeBackwardArgs tensors;
  const float* divisor = nullptr;
};

}  // namespace edgeqat::cpu
