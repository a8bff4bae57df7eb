// SPDX-License-Identifier: Apache-2.0
// Float element types and the map from an element of a dense tensor to its scale and zero point.
#pragma once

#include <cstdint>
#include <span>

namespace edgeqat {

// Element types of the data. float64 is refused everywhere: the arithmetic is float32.
enum class FloatType : std::uint8_t { kFloat32, kFloat16, kBFloat16 };

[[nodiscard]] constexpr std::int64_t SizeOf(FloatType type) {
  return type == FloatType::kFloat32 ? 4 : 2;
}

// A dense tensor in memory order, seen as [outer, channels, rows, width]. Element e uses the scale
//
//   index(e) = ((e / (rows * width)) % channels) * width + e % width        of channels * width
//   scales.
//
//   per tensor                               {1, 1, n, 1}
//   per channel, axis k of a row-major x     {prod(shape[:k]), shape[k], prod(shape[k+1:]), 1}
//   per channel, the axis innermost          {1, 1, prod(shape[:k]), shape[k]}
//   per group of g along axis k              {1, prod(shape[:k]) * shape[k] / g, g,
//   prod(shape[k+1:])}
//
// Example: a [2, 3, 4] tensor with axis 1 is {2, 3, 4, 1}; element 17 (that is [1, 1, 1]) uses
// scale (17 / 4) % 3 = 1.
struct QuantLayout {
  std::int64_t outer = 1;
  std::int64_t channels = 1;
  std::int64_t rows = 0;
  std::int64_t width = 1;

  [[nodiscard]] constexpr std::int64_t numel() const { return outer * channels * rows * width; }
  [[nodiscard]] constexpr std::int64_t num_scales() const { return channels * width; }
  [[nodiscard]] constexpr std::int64_t index(std::int64_t e) const {
    return ((e / (rows * width)) % channels) * width + e % width;
  }

  [[nodiscard]] static QuantLayout PerTensor(std::int64_t numel);
  // `shape` in memory order; `axis` in [0, shape.size()). Errors: kOutOfRange for the axis.
  [[nodiscard]] static QuantLayout PerChannel(std::span<const std::int64_t> shape,
                                              std::int64_t axis);
  // As PerChannel; the scales have the shape of x with shape[axis] / group_size at the axis.
  // Errors: kInvalidArgument if group_size < 1 or does not divide shape[axis].
  [[nodiscard]] static QuantLayout PerGroup(std::span<const std::int64_t> shape, std::int64_t axis,
                                            std::int64_t group_size);
};

}  // namespace edgeqat
