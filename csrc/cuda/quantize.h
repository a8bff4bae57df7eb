// SPDX-License-Identifier: Apache-2.0
// Launchers of quantize and dequantize; arguments and numerics are those of the CPU kernels, the
// conditions on pointers and streams those of cuda/fake_quantize.h.
#pragma once

#include "cuda/stream.h"
#include "edgeqat/quantize.h"

namespace edgeqat::cuda {

void quantize(const QuantizeArgs& args, cudaStream_t stream);

void dequantize(const DequantizeArgs& args, cudaStream_t stream);

}  // namespace edgeqat::cuda
