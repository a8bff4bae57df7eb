// SPDX-License-Identifier: Apache-2.0
// Launcher of per_token_fake_quantize; arguments and numerics are those of the CPU kernel, the
// conditions on pointers and streams those of cuda/fake_quantize.h.
#pragma once

#include "cuda/stream.h"
#include "edgeqat/per_token_fake_quantize.h"

namespace edgeqat::cuda {

void per_token_fake_quantize(const PerTokenFakeQuantizeArgs& args, cudaStream_t stream);

}  // namespace edgeqat::cuda
