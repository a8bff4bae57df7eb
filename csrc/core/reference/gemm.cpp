// SPDX-License-Identifier: Apache-2.0
// Plain loops that the compiler turns into pmaddwd (int16 pairs to int32) and their requantization.
#include "core/reference/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "edgeqat/error.h"

namespace edgeqat::reference {
namespace {

constexpr std::int64_t kInt32Max = std::numeric_limits<std::int32_t>::max();

// Two patches with four weight rows: 8 sums from 6 loads. Integer sums may be reordered freely, and
// no partial sum exceeds the bound that OutputStage proves.
void MultiplyBlock(const std::int16_t* __restrict x, const std::int16_t* __restrict w,
                   std::int64_t k_count, std::int32_t* __restrict acc) {
  const std::int16_t* x1 = x + k_count;
  const std::int16_t* w1 = w + k_count;
  const std::int16_t* w2 = w1 + k_count;
  const std::int16_t* w3 = w2 + k_count;
  std::int32_t s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
  for (std::int64_t k = 0; k < k_count; ++k) {
    s00 += x[k] * w[k];
    s01 += x[k] * w1[k];
    s02 += x[k] * w2[k];
    s03 += x[k] * w3[k];
    s10 += x1[k] * w[k];
    s11 += x1[k] * w1[k];
    s12 += x1[k] * w2[k];
    s13 += x1[k] * w3[k];
  }
  acc[0] = s00;
  acc[1] = s10;
  acc[kTile] = s01;
  acc[kTile + 1] = s11;
  acc[2 * kTile] = s02;
  acc[2 * kTile + 1] = s12;
  acc[3 * kTile] = s03;
  acc[3 * kTile + 1] = s13;
}

}  // namespace

IntRows::IntRows(std::int64_t rows_, std::int64_t columns_)
    : rows(rows_), columns(columns_), stride((columns_ + 7) / 8 * 8) {
  values.resize(static_cast<std::size_t>((rows + 3) * stride));
}

void IntRows::Measure() {
  magnitude.assign(static_cast<std::size_t>(rows), 0);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < columns; ++k) magnitude[r] += std::abs(values[r * stride + k]);
  }
}

void MultiplyTile(const std::int16_t* patches, std::int64_t count, const IntRows& weights,
                  std::int64_t first, std::int64_t last, std::int32_t* acc) {
  // Rows outside first..last are computed into acc's padding: acc has 4 rows more than last -
  // first.
  for (std::int64_t r = first; r < last; r += 4) {
    for (std::int64_t p = 0; p < count; p += 2) {
      MultiplyBlock(patches + p * weights.stride, weights.values.data() + r * weights.stride,
                    weights.stride, acc + (r - first) * kTile + p);
    }
  }
}

std::int64_t MaxMagnitude(const Codes& codes) {
  return std::max(codes.qmax - codes.zero_point[0], codes.zero_point[0] - codes.qmin);
}

OutputStage::OutputStage(const NodeRun& run, const Codes& x, const Codes& weights,
                         const std::vector<std::int64_t>& magnitude)
    : run_(run) {
  const std::int64_t largest = MaxMagnitude(x);
  std::vector<std::int64_t> room;
  for (std::size_t r = 0; r < magnitude.size(); ++r) {
    const std::int64_t bound = magnitude[r] * largest;
    if (bound > kInt32Max) {
      run.Fail(
          ErrorCode::kUnsupported, "inputs[1]",
          "expected |sum (x - zx) * (w - zw)| <= 2^31 - 1 in every output channel, found up to " +
              std::to_string(bound) + " in channel " + std::to_string(r) +
              "; use fewer bits for this layer or split it");
    }
    room.push_back(kInt32Max - bound);
    scale_.push_back(x.scale[0] * weights.scale[r % weights.scale.size()]);
    multiplier_.push_back(run.output == nullptr ? scale_.back()
                                                : scale_.back() / run.output->scale[0]);
    run.Expect(std::isfinite(multiplier_.back()), "inputs",
               "expected finite scales sx * sw / sy, found an overflow in channel " +
                   std::to_string(r) + "; calibrate the model again");
  }
  ReadBias(x, weights, room);
  if (run.output == nullptr) return;
  const Codes& out = *run.output;
  low_ = out.qmin;
  high_ = out.qmax;
  if (run.node.activation) {
    // Rounding is monotonic: clamping codes at the codes of the bounds is clamping the real values.
    low_ = QuantizeOne(out, run.Activate(-std::numeric_limits<float>::max()));
    high_ = QuantizeOne(out, run.Activate(std::numeric_limits<float>::max()));
  }
}

void OutputStage::ReadBias(const Codes& x, const Codes& weights,
                           const std::vector<std::int64_t>& room) {
  const std::size_t rows = room.size();
  bias_.assign(rows, 0);
  in_float_.assign(rows, 0);
  float_bias_.assign(rows, 0.0F);
  if (!run_.Has(2)) return;
  const Tensor& bias = *run_.inputs[2].tensor;
  run_.Expect(bias.NumElements() == static_cast<std::int64_t>(rows), "inputs[2]",
              "expected " + std::to_string(rows) + " values, found " + ShapeString(bias.shape));
  if (bias.dtype == DType::kInt32) {
    const auto codes = bias.Span<std::int32_t>();
    for (std::size_t r = 0; r < rows; ++r) {
      if (std::abs(std::int64_t{codes[r]}) > room[r]) {
        run_.Fail(ErrorCode::kUnsupported, "inputs[2]",
                  "expected an int32 bias that leaves |acc| <= 2^31 - 1, found " +
                      std::to_string(codes[r]) + " in channel " + std::to_string(r) +
                      "; give the bias as float32");
      }
      bias_[r] = codes[r];
    }
    return;
  }
  const Floats values(run_.inputs[2]);
  run_.Expect(std::ranges::all_of(values.view(), [](float v) { return std::isfinite(v); }),
              "inputs[2]", "expected a finite bias, found NaN or infinity");
  std::vector<float> row_scale(rows);
  for (std::size_t r = 0; r < rows; ++r) row_scale[r] = weights.scale[r % weights.scale.size()];
  IntegerBias integer = QuantizeBias(values.view(), x.scale[0], row_scale, room);
  bias_ = std::move(integer.codes);
  in_float_ = std::move(integer.in_float);
  float_bias_.assign(values.view().begin(), values.view().end());
}

template <typename T>
void OutputStage::ApplyCodes(std::int64_t row, const std::int32_t* acc, std::int64_t count, T* out,
                             std::int64_t stride) const {
  const Codes& codes = *run_.output;
  const std::int32_t zero = codes.zero_point[0];
  const std::int32_t bias = bias_[row];
  const float multiplier = multiplier_[row];
  const auto low = static_cast<float>(low_ - zero);
  const auto high = static_cast<float>(high_ - zero);
  const auto finish = [&](float value) {
    value = value < low ? low : value;
    value = value > high ? high : value;
    return static_cast<T>(static_cast<std::int32_t>(RoundSmall(value)) + zero);
  };
  if (in_float_[row] != 0) {
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = static_cast<float>(acc[i]) * scale_[row] + float_bias_[row];
      out[i * stride] = finish(value / codes.scale[0]);
    }
  } else if (stride == 1) {
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = finish(static_cast<float>(acc[i] + bias) * multiplier);
    }
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      out[i * stride] = finish(static_cast<float>(acc[i] + bias) * multiplier);
    }
  }
}

void OutputStage::Apply(std::int64_t row, const std::int32_t* acc, std::int64_t count, Tensor& out,
                        std::int64_t offset, std::int64_t stride) const {
  if (out.dtype == DType::kInt8) {
    return ApplyCodes(row, acc, count, reinterpret_cast<std::int8_t*>(out.data.data()) + offset,
                      stride);
  }
  if (out.dtype == DType::kUint8) {
    return ApplyCodes(row, acc, count, reinterpret_cast<std::uint8_t*>(out.data.data()) + offset,
                      stride);
  }
  float* to = reinterpret_cast<float*>(out.data.data()) + offset;
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = in_float_[row] != 0
                            ? static_cast<float>(acc[i]) * scale_[row] + float_bias_[row]
                            : static_cast<float>(acc[i] + bias_[row]) * scale_[row];
    to[i * stride] = run_.Activate(value);
  }
}

void MultiplyFloat(const float* patches, std::int64_t count, const double* weights,
                   std::int64_t k_count, std::int64_t columns, double* acc) {
  for (std::int64_t p = 0; p < count; ++p) {
    double* __restrict to = acc + p * columns;
    for (std::int64_t k = 0; k < k_count; ++k) {
      const double value = patches[p * k_count + k];
      const double* __restrict row = weights + k * columns;
      for (std::int64_t o = 0; o < columns; ++o) to[o] += value * row[o];
    }
  }
}

}  // namespace edgeqat::reference

namespace edgeqat {

IntegerBias QuantizeBias(std::span<const float> bias, float input_scale,
                         std::span<const float> weight_scale, std::span<const std::int64_t> room) {
  const std::size_t count = bias.size();
  if ((weight_scale.size() != 1 && weight_scale.size() != count) ||
      (!room.empty() && room.size() != count)) {
    throw Error(ErrorCode::kInvalidArgument, "quantize_bias: weight_scale: expected 1 or " +
                                                 std::to_string(count) + " values, found " +
                                                 std::to_string(weight_scale.size()) +
                                                 "; give one per tensor or one per output channel");
  }
  IntegerBias result{std::vector<std::int32_t>(count), std::vector<std::uint8_t>(count)};
  for (std::size_t c = 0; c < count; ++c) {
    const float scale = input_scale * weight_scale[c % weight_scale.size()];
    const double code = std::nearbyint(static_cast<double>(bias[c]) / static_cast<double>(scale));
    const double most = static_cast<double>(room.empty() ? reference::kInt32Max : room[c]);
    const bool fits =
        std::abs(code) <= most;  // false for NaN and for a scale that underflowed to 0
    result.codes[c] = fits ? static_cast<std::int32_t>(code) : 0;
    result.in_float[c] = fits ? 0 : 1;
  }
  return result;
}

}  // namespace edgeqat
