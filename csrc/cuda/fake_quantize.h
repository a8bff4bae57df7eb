// SPDX-License-Identifier: Apache-2.0
// Launchers of fake_quantize, fake_quantize_train and fake_quantize_backward.
//
// They take the argument structs of the CPU kernels, whose header states the numerics; here every
// pointer is device memory. Launchers are asynchronous on `stream`, allocate nothing, never
// synchronize and can be captured into a CUDA graph; errors stay in cudaGetLastError. Without
// elements nothing is launched.
#pragma once

#include "cuda/stream.h"
#include "edgeqat/fake_quantize.h"

namespace edgeqat::cuda {

// fake_quantize_train is the call with args.bits set.
void fake_quantize(const FakeQuantizeArgs& args, cudaStream_t stream);

void fake_quantize_backward(const FakeQuantizeBackwardArgs& args, cudaStream_t stream);

}  // namespace edgeqat::cuda
