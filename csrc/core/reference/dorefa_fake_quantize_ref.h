// SPDX-License-Identifier: Apache-2.0
// Scalar oracles of dorefa_fake_quantize and its backward, in double.
#pragma once

#include "edgeqat/dorefa_fake_quantize.h"

namespace edgeqat::reference {

// `position`: optional, t / step before rounding; where it is nearly a tie, a code of float32
// arithmetic may be the neighbour.
void dorefa_fake_quantize_ref(const DorefaFakeQuantizeArgs& args, double* position = nullptr);
void dorefa_fake_quantize_backward_ref(const DorefaFakeQuantizeBackwardArgs& args);

}  // namespace edgeqat::reference
