// SPDX-License-Identifier: Apache-2.0
// Launchers of dorefa_fake_quantize and its backward; arguments and numerics are those of the CPU
// kernels, the conditions on pointers and streams those of cuda/fake_quantize.h.
#pragma once

#include <cstdint>

#include "cuda/magnitude.h"
#include "edgeqat/dorefa_fake_quantize.h"

namespace edgeqat::cuda {

// Device memory, 16-byte aligned: the units of the maxima, then a divisor for each scale.
[[nodiscard]] constexpr std::int64_t DorefaWorkspace(const QuantLayout& layout) {
  return MagnitudeWorkspace(layout) +
         layout.num_scales() * static_cast<std::int64_t>(sizeof(float));
}

void dorefa_fake_quantize(const DorefaFakeQuantizeArgs& args, void* workspace, cudaStream_t stream);

void dorefa_fake_quantize_backward(const DorefaFakeQuantizeBackwardArgs& args, void* workspace,
                                   cudaStream_t stream);

}  // namespace edgeqat::cuda
