// SPDX-License-Identifier: Apache-2.0
// Quantization parameters with their values, and the two directions between codes and float32.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "edgeqat/graph.h"
#include "edgeqat/tensor.h"

namespace edgeqat::reference {

// QuantParams with the constants that they name looked up and checked.
struct Codes {
  DType dtype = DType::kInt8;
  std::int32_t qmin = 0;
  std::int32_t qmax = 0;
  std::optional<std::int64_t> axis;
  std::int64_t group_size = 1;
  bool grouped = false;
  std::vector<float> scale;
  std::vector<std::int32_t> zero_point;

  [[nodiscard]] bool PerTensor() const { return scale.size() == 1; }
  friend bool operator==(const Codes&, const Codes&) = default;
};

// Throws Error(kInvalidArgument) naming `tensor` unless scales are finite and > 0 and zero points
// inside qmin..qmax.
Codes MakeCodes(const std::string& tensor, const QuantParams& quant, const Tensor& scale,
                const Tensor& zero_point);

// rint, half to even, for |value| <= 2^22: adding 1.5 * 2^23 leaves no bit below 1. nearbyintf
// would be a library call for each element on baseline x86-64.
inline float RoundSmall(float value) { return (value + 12582912.0F) - 12582912.0F; }

// clamp(rint(value / scale) + zero_point, qmin, qmax); NaN gives the code of zero.
std::int32_t QuantizeOne(const Codes& codes, float value);

// Both need a tensor of `shape`; per-tensor, per-channel and grouped parameters alike.
void Dequantize(const Codes& codes, const Tensor& tensor, std::span<float> out);
Tensor Quantize(const Codes& codes, std::span<const float> values, std::vector<std::int64_t> shape);

}  // namespace edgeqat::reference
