// SPDX-License-Identifier: Apache-2.0
// Launcher of oscillation_update; arguments and numerics are those of the CPU kernel, the
// conditions on pointers and streams those of cuda/fake_quantize.h.
#pragma once

#include "cuda/stream.h"
#include "edgeqat/oscillation.h"

namespace edgeqat::cuda {

void oscillation_update(const OscillationUpdateArgs& args, cudaStream_t stream);

}  // namespace edgeqat::cuda
