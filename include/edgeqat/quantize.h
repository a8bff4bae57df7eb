// SPDX-License-Identifier: Apache-2.0
// Float values to integer codes and back: ONNX QuantizeLinear and DequantizeLinear.
#pragma once

#include <cstdint>

#include "edgeqat/parallel.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

// q = clamp(round_half_even(x / scale) + zero_point, qmin, qmax), as in fake_quantize.
// Codes take one byte each: int8 if qmin < 0, otherwise uint8. NaN has no code and becomes the zero
// point, the code of 0.0; +-Inf saturates. Preconditions: those of FakeQuantizeArgs, and [qmin,
// qmax] lies in
// [-128, 127] or [0, 255].
struct QuantizeArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* x = nullptr;
  const float* scale = nullptr;
  const std::int32_t* zero_point = nullptr;
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  void* codes = nullptr;  // layout.numel() bytes
};
void quantize(const QuantizeArgs& args, const ParallelFor& pool = {});

// y = float(code - zero_point) * scale, float32. y equals fake_quantize's y for the codes of
// quantize.
struct DequantizeArgs {
  bool is_signed = true;  // int8 or uint8 codes
  QuantLayout layout;
  const void* codes = nullptr;
  const float* scale = nullptr;
  const std::int32_t* zero_point = nullptr;
  float* y = nullptr;
};
void dequantize(const DequantizeArgs& args, const ParallelFor& pool = {});

}  // namespace edgeqat
