// SPDX-License-Identifier: Apache-2.0
// Quantize and dequantize in float32, true division: ONNX QuantizeLinear and DequantizeLinear.
#include "core/reference/codes.h"

#include <algorithm>
#include <cmath>

#include "edgeqat/error.h"

namespace edgeqat::reference {
namespace {

// Calls run(begin, count, parameter) for every stretch of elements that share one scale.
template <typename Run>
void ForEachStretch(const Codes& codes, std::span<const std::int64_t> shape, const Run& run) {
  const std::int64_t count = NumElements(shape);
  if (codes.PerTensor()) {
    run(std::int64_t{0}, count, std::size_t{0});
    return;
  }
  const std::int64_t axis = *codes.axis;
  const std::int64_t extent = shape[axis];
  const std::int64_t inner = NumElements(shape.subspan(axis + 1));
  if (count == 0) return;
  const std::int64_t rows = count / inner;  // outer * extent
  for (std::int64_t row = 0; row < rows; ++row) {
    if (!codes.grouped) {
      run(row * inner, inner, static_cast<std::size_t>(row % extent));
      continue;
    }
    const std::int64_t group =
        (row / extent) * (extent / codes.group_size) + row % extent / codes.group_size;
    if (inner == 1) {
      if (row % codes.group_size == 0) run(row, codes.group_size, static_cast<std::size_t>(group));
      continue;
    }
    for (std::int64_t i = 0; i < inner; ++i) {
      run(row * inner + i, std::int64_t{1}, static_cast<std::size_t>(group * inner + i));
    }
  }
}

template <typename T>
void QuantizeStretch(const Codes& codes, const float* values, std::int64_t count, std::size_t index,
                     T* out) {
  const float scale = codes.scale[index];
  const std::int32_t zero = codes.zero_point[index];
  const auto low = static_cast<float>(codes.qmin - zero);
  const auto high = static_cast<float>(codes.qmax - zero);
  for (std::int64_t i = 0; i < count; ++i) {
    float value = values[i] / scale;
    value = value == value ? value : 0.0F;
    value = value < low ? low : value;
    value = value > high ? high : value;
    out[i] = static_cast<T>(static_cast<std::int32_t>(RoundSmall(value)) + zero);
  }
}

template <typename T>
void DequantizeStretch(const Codes& codes, const T* in, std::int64_t count, std::size_t index,
                       float* out) {
  const float scale = codes.scale[index];
  const std::int32_t zero = codes.zero_point[index];
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<float>(static_cast<std::int32_t>(in[i]) - zero) * scale;
  }
}

template <typename T>
void DequantizeAll(const Codes& codes, const Tensor& tensor, std::span<float> out) {
  const std::span<const T> in = tensor.Span<T>();
  ForEachStretch(codes, tensor.shape,
                 [&](std::int64_t begin, std::int64_t count, std::size_t index) {
                   DequantizeStretch(codes, in.data() + begin, count, index, out.data() + begin);
                 });
}

template <typename T>
void QuantizeAll(const Codes& codes, std::span<const float> values, Tensor& out) {
  const std::span<T> to = out.MutableSpan<T>();
  ForEachStretch(codes, out.shape, [&](std::int64_t begin, std::int64_t count, std::size_t index) {
    QuantizeStretch(codes, values.data() + begin, count, index, to.data() + begin);
  });
}

}  // namespace

Codes MakeCodes(const std::string& tensor, const QuantParams& quant, const Tensor& scale,
                const Tensor& zero_point) {
  const auto fail = [&](const std::string& what) {
    throw Error(ErrorCode::kInvalidArgument,
                "reference: tensor \"" + tensor + "\": " + what + "; calibrate the model again");
  };
  Codes codes;
  codes.dtype = quant.qmin < 0 ? DType::kInt8 : DType::kUint8;
  codes.qmin = static_cast<std::int32_t>(quant.qmin);
  codes.qmax = static_cast<std::int32_t>(quant.qmax);
  codes.axis = quant.axis;
  codes.grouped = quant.group_size.has_value();
  codes.group_size = quant.group_size.value_or(1);
  const auto scales = scale.Span<float>();
  const auto zeros = zero_point.Span<std::int32_t>();
  codes.scale.assign(scales.begin(), scales.end());
  codes.zero_point.assign(zeros.begin(), zeros.end());
  if (codes.scale.empty() || codes.scale.size() != codes.zero_point.size()) {
    fail("scale and zero_point: expected equally many values, found " +
         std::to_string(codes.scale.size()) + " and " + std::to_string(codes.zero_point.size()));
  }
  for (std::size_t i = 0; i < codes.scale.size(); ++i) {
    if (!(std::isfinite(codes.scale[i]) && codes.scale[i] > 0)) {
      fail("scale[" + std::to_string(i) + "]: expected a finite number > 0, found " +
           std::to_string(codes.scale[i]));
    }
    if (codes.zero_point[i] < codes.qmin || codes.zero_point[i] > codes.qmax) {
      fail("zero_point[" + std::to_string(i) + "]: expected " + std::to_string(codes.qmin) +
           " to " + std::to_string(codes.qmax) + ", found " + std::to_string(codes.zero_point[i]));
    }
  }
  return codes;
}

std::int32_t QuantizeOne(const Codes& codes, float value) {
  std::int32_t code = 0;
  QuantizeStretch(codes, &value, 1, 0, &code);
  return code;
}

void Dequantize(const Codes& codes, const Tensor& tensor, std::span<float> out) {
  if (codes.dtype == DType::kInt8) return DequantizeAll<std::int8_t>(codes, tensor, out);
  DequantizeAll<std::uint8_t>(codes, tensor, out);
}

Tensor Quantize(const Codes& codes, std::span<const float> values,
                std::vector<std::int64_t> shape) {
  Tensor out = Tensor::Zeros(codes.dtype, std::move(shape));
  if (codes.dtype == DType::kInt8) {
    QuantizeAll<std::int8_t>(codes, values, out);
  } else {
    QuantizeAll<std::uint8_t>(codes, values, out);
  }
  return out;
}

}  // namespace edgeqat::reference
