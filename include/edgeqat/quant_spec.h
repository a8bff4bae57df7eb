// SPDX-License-Identifier: Apache-2.0
// The number format of one tensor: signed integer codes q in [qmin, qmax] that stand for
// (q - zero_point) * scale.
//
//   const edgeqat::QuantSpec spec{.bits = 4, .granularity = edgeqat::Granularity::kChannel,
//                                 .axis = 0};
//   edgeqat::ValidateQuantSpec(spec);
//   spec.qmin();                  // -8
//   spec.ScaleShape({{64, 3}});   // {64}
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "edgeqat/enum_names.h"

namespace edgeqat {

// One scale for the tensor, for each index of an axis, or for each run of values along an axis.
enum class Granularity : std::uint8_t { kTensor, kChannel, kGroup };

template <>
struct EnumNames<Granularity> {
  static constexpr std::array<std::string_view, 3> kNames = {"tensor", "channel", "group"};
};

inline constexpr int kMinBits = 2;
inline constexpr int kMaxBits = 8;

struct QuantSpec {
  int bits = 8;           // kMinBits..kMaxBits
  bool symmetric = true;  // the zero point is 0
  Granularity granularity = Granularity::kTensor;
  std::optional<std::int64_t> axis{};        // of kChannel and kGroup; negative counts from the end
  std::optional<std::int64_t> group_size{};  // values that share a scale; kGroup only
  bool narrow_range = false;                 // without the lowest code: -127..127, -7..7

  [[nodiscard]] constexpr int qmin() const { return -(1 << (bits - 1)) + (narrow_range ? 1 : 0); }
  [[nodiscard]] constexpr int qmax() const { return (1 << (bits - 1)) - 1; }

  // Shape of the scale of a tensor of `shape`: {1}, {C}, or `shape` with shape[axis] / group_size
  // at the axis. Errors: kOutOfRange for an axis that `shape` lacks, kInvalidArgument where
  // group_size does not divide the axis.
  [[nodiscard]] std::vector<std::int64_t> ScaleShape(std::span<const std::int64_t> shape) const;

  friend bool operator==(const QuantSpec&, const QuantSpec&) = default;
};

// Throws Error(kInvalidArgument) where a field is out of range or contradicts another one.
void ValidateQuantSpec(const QuantSpec& spec);

}  // namespace edgeqat
