// SPDX-License-Identifier: Apache-2.0
// Integer and float products of patch rows with weight rows, and the step from accumulator to
// output.
#pragma once

#include <cstdint>
#include <vector>

#include "core/reference/node_run.h"

namespace edgeqat::reference {

// Rows of patches that are multiplied together; a multiple of 2.
inline constexpr std::int64_t kTile = 64;

// Weight codes minus zero point as int16, one row per output channel, padded with zeros to a
// multiple of 8 columns, and 3 rows of zeros at the end: w - zw lies in -255..255, so two products
// fit the int32 of one pmaddwd.
struct IntRows {
  std::int64_t rows = 0;
  std::int64_t columns = 0;  // without padding
  std::int64_t stride = 0;
  std::vector<std::int16_t> values;
  std::vector<std::int64_t> magnitude;  // sum |w - zw| per row

  IntRows(std::int64_t rows_, std::int64_t columns_);
  void Measure();  // fills magnitude
};

// The zero point of row r is codes.zero_point[r % size]; `at(r, k)` is the element of row r, column
// k.
template <typename T, typename At>
void FillRows(IntRows& to, const T* codes, const std::vector<std::int32_t>& zero_point,
              const At& at) {
  for (std::int64_t r = 0; r < to.rows; ++r) {
    const std::int32_t zero = zero_point[static_cast<std::size_t>(r) % zero_point.size()];
    for (std::int64_t k = 0; k < to.columns; ++k) {
      to.values[r * to.stride + k] = static_cast<std::int16_t>(codes[at(r, k)] - zero);
    }
  }
  to.Measure();
}

// acc[r * kTile + p] = sum_k patches[p * stride + k] * weights[r][k] for `count` <= kTile patches.
// Reads whole tiles: patches has kTile rows. `first` .. `last` are weight rows.
void MultiplyTile(const std::int16_t* patches, std::int64_t count, const IntRows& weights,
                  std::int64_t first, std::int64_t last, std::int32_t* acc);

// max |x - zx| over the codes that x may hold.
std::int64_t MaxMagnitude(const Codes& codes);

// From int32 accumulators to the output of one layer.
class OutputStage {
 public:
  // Proves magnitude[r] * max|x - zx| <= 2^31 - 1 for every row r, and quantizes the bias (input 2)
  // into the room that is left. `weights`: parameters of the second operand, one scale or one per
  // row.
  OutputStage(const NodeRun& run, const Codes& x, const Codes& weights,
              const std::vector<std::int64_t>& magnitude);

  // out[i * stride] from acc[i], i < count, for output channel r. `out` points into the output's
  // data.
  void Apply(std::int64_t row, const std::int32_t* acc, std::int64_t count, Tensor& out,
             std::int64_t offset, std::int64_t stride) const;

 private:
  template <typename T>
  void ApplyCodes(std::int64_t row, const std::int32_t* acc, std::int64_t count, T* out,
                  std::int64_t stride) const;
  void ReadBias(const Codes& x, const Codes& weights, const std::vector<std::int64_t>& room);

  const NodeRun& run_;
  std::vector<float> scale_;       // sx * sw per row
  std::vector<float> multiplier_;  // scale / sy per row
  std::vector<std::int32_t> bias_;
  std::vector<std::uint8_t> in_float_;
  std::vector<float> float_bias_;
  std::int32_t low_ = 0;  // codes, narrowed by the activation
  std::int32_t high_ = 0;
};

// acc[p * columns + o] += sum_k patches[p * k_count + k] * weights[k * columns + o], in float64.
void MultiplyFloat(const float* patches, std::int64_t count, const double* weights,
                   std::int64_t k_count, std::int64_t columns, double* acc);

}  // namespace edgeqat::reference
