// SPDX-License-Identifier: Apache-2.0
// Launcher of the magnitude reduction; the order of the sums is that of core/magnitude.h, so they
// are those of the CPU, bit for bit.
#pragma once

#include <cstdint>

#include "core/magnitude.h"
#include "cuda/stream.h"

namespace edgeqat::cuda {

// Device memory that reduce_magnitudes needs, 16-byte aligned.
[[nodiscard]] constexpr std::int64_t MagnitudeWorkspace(const QuantLayout& layout) {
  return layout.num_scales() * PiecesPerScale(layout) *
         static_cast<std::int64_t>(sizeof(MagnitudeSums));
}

// Fills units[u] for every unit; the kernels that follow add up the pieces of each scale.
void reduce_magnitudes(const MagnitudeArgs& args, MagnitudeSums* units, cudaStream_t stream);

}  // namespace edgeqat::cuda
