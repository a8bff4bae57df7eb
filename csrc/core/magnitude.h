// SPDX-License-Identifier: Apache-2.0
// Sum, count and maximum of |x| for every scale: how the elements are cut into units, and in which
// order they are added, so that the CPU (any instruction set, any number of threads) and CUDA get
// the same bits.
//
// The elements of a scale are numbered in the order of the layout. Unit u is piece u % pieces of
// scale u / pieces: 4096 of them. Within a piece, lane j adds the elements j, j + 16, ... in
// double; the piece is the sum of its lanes from 0 to 15, the scale the sum of its pieces in order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "edgeqat/host_device.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

inline constexpr std::int64_t kMagnitudePiece = 4096;
inline constexpr int kMagnitudeLanes = 16;

struct MagnitudeSums {
  double sum = 0.0;
  std::int64_t count = 0;
  float max = 0.0F;
};

// What is reduced: the elements that are finite, kept by the mask, and above the threshold of their
// scale, if there is one.
struct MagnitudeArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* x = nullptr;
  const std::uint8_t* mask = nullptr;
  const float* threshold = nullptr;  // optional: layout.num_scales()
};

[[nodiscard]] constexpr std::int64_t ElementsPerScale(const QuantLayout& layout) {
  return layout.outer * layout.rows;
}

[[nodiscard]] constexpr std::int64_t PiecesPerScale(const QuantLayout& layout) {
  return (ElementsPerScale(layout) + kMagnitudePiece - 1) / kMagnitudePiece;
}

// The mean in double; a scale without elements has a threshold that nothing exceeds.
EDGEQAT_FORMULA float TernaryThreshold(const MagnitudeSums& all) {
  return all.count == 0 ? __builtin_inff()
                        : static_cast<float>(0.7 * (all.sum / static_cast<double>(all.count)));
}

struct TernaryScale {
  float scale;
  float threshold;
};

// `threshold` stays, unless the scale is dead.
EDGEQAT_FORMULA TernaryScale ChooseTernaryScale(const MagnitudeSums& above, float threshold) {
  const float mean =
      above.count == 0 ? 0.0F : static_cast<float>(above.sum / static_cast<double>(above.count));
  if (mean >= 0x1p-126F) return {mean, threshold};
  return {1.0F, __builtin_inff()};
}

}  // namespace edgeqat
