// SPDX-License-Identifier: Apache-2.0
// Launcher of ternary_fake_quantize; arguments and numerics are those of the CPU kernel, the
// conditions on pointers and streams those of cuda/fake_quantize.h.
#pragma once

#include <cstdint>

#include "cuda/magnitude.h"
#include "edgeqat/ternary_fake_quantize.h"

namespace edgeqat::cuda {

// Device memory, 16-byte aligned: the units of the sums, then a threshold for each scale.
[[nodiscard]] constexpr std::int64_t TernaryWorkspace(const QuantLayout& layout) {
  return MagnitudeWorkspace(layout) +
         layout.num_scales() * static_cast<std::int64_t>(sizeof(float));
}

void ternary_fake_quantize(const TernaryFakeQuantizeArgs& args, void* workspace,
                           cudaStream_t stream);

}  // namespace edgeqat::cuda
