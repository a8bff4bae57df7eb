// SPDX-License-Identifier: Apache-2.0
// Argument checks of the operators, shared by the CPU and the CUDA side: everything that needs no
// look at the values.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "edgeqat/activation.h"
#include "edgeqat/error.h"
#include "edgeqat/quant_layout.h"
#include "torch/describe.h"

namespace edgeqat::torch_ops {

inline void CheckDtype(std::string_view op, std::string_view argument, const Tensor& tensor,
                       ScalarType expected) {
  if (tensor.scalar_type() == expected) return;
  const std::string name = DtypeName(expected);
  Fail(op, argument, "a " + name + " tensor", DtypeName(tensor.scalar_type()),
       "Convert it with .to(torch." + name + ").");
}

inline void CheckShape(std::string_view op, std::string_view argument, const Tensor& tensor,
                       std::span<const std::int64_t> expected, std::string_view next) {
  const auto sizes = Sizes(tensor);
  if (std::equal(sizes.begin(), sizes.end(), expected.begin(), expected.end())) return;
  Fail(op, argument, "of shape " + ShapeName(expected), ShapeName(sizes), next);
}

inline FloatType CheckFloat(std::string_view op, std::string_view argument, const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return FloatType::kFloat32;
    case ScalarType::Half:
      return FloatType::kFloat16;
    case ScalarType::BFloat16:
      return FloatType::kBFloat16;
    default:
      Fail(
          op, argument, "float32, float16 or bfloat16", DtypeName(tensor.scalar_type()),
          "The arithmetic is float32: convert with .float() (float64 would lose digits silently).");
  }
}

// True for int8, false for uint8.
inline bool CheckCodes(std::string_view op, std::string_view argument, const Tensor& tensor) {
  if (tensor.scalar_type() == ScalarType::Char) return true;
  if (tensor.scalar_type() == ScalarType::Byte) return false;
  Fail(op, argument, "int8 or uint8", DtypeName(tensor.scalar_type()),
       "Use the result of edgeqat.functional.quantize.");
}

inline void CheckDevice(std::string_view op, std::string_view argument, const Tensor& tensor,
                        const Tensor& data) {
  if (tensor.is_cpu() && data.is_cpu()) return;
  if (tensor.device() == data.device()) return;
  const std::string device = DeviceName(data);
  Fail(op, argument, "on the device of the data (" + device + ")", DeviceName(tensor),
       "Move it with .to('" + device + "').");
}

// The code range of fake_quantize and quantize: what an int8 or a uint8 can hold.
inline void CheckRange(std::string_view op, std::int64_t qmin, std::int64_t qmax) {
  const bool fits = qmin < 0 ? (qmin >= -128 && qmax <= 127) : qmax <= 255;
  if (qmin < qmax && fits) return;
  Fail(op, "qmin, qmax", "qmin < qmax within [-128, 127] or [0, 255]",
       std::to_string(qmin) + ", " + std::to_string(qmax),
       "Use -128, 127 for int8, 0, 255 for uint8, -8, 7 for int4.");
}

inline ActivationKind CheckActivation(std::string_view op, std::int64_t activation) {
  if (activation >= 0 && activation < kActivationKinds) {
    return static_cast<ActivationKind>(activation);
  }
  Fail(op, "activation", "0 (none), 1 (relu), 2 (relu6) or 3 (hardswish)",
       std::to_string(activation), "edgeqat.functional takes the names instead.");
}

// fake_quantize_backward: the bits tell the derivative of the other activations, so only hardswish
// is left for the kernel, which needs x for it.
inline ActivationKind CheckBackwardActivation(std::int64_t activation,
                                              const std::optional<Tensor>& x, const Tensor& grad) {
  constexpr const char* kOp = "fake_quantize_backward";
  const ActivationKind kind = CheckActivation(kOp, activation);
  if (HasBinaryDerivative(kind)) return ActivationKind::kNone;
  if (!x.has_value()) {
    Fail(kOp, "x", "the input of fake_quantize_train for hardswish", "None",
         "Its derivative is no bit: save x and pass it.");
  }
  CheckDtype(kOp, "x", *x, grad.scalar_type());
  CheckDevice(kOp, "x", *x, grad);
  CheckShape(kOp, "x", *x, Sizes(grad), "x and grad have the same shape.");
  return kind;
}

// A negative axis counts from the end; the result is in [0, dim).
inline std::int64_t CheckAxis(std::string_view op, std::int64_t axis, std::int64_t dim) {
  if (axis >= -dim && axis < dim) return axis < 0 ? axis + dim : axis;
  Fail(op, "axis", "in [" + std::to_string(-dim) + ", " + std::to_string(dim) + ")",
       std::to_string(axis), "Pass a dimension of x, or None for one scale per tensor.",
       ErrorCode::kOutOfRange);
}

// How many scales there are and along what.
struct Granularity {
  std::optional<std::int64_t> axis;  // normalised
  std::optional<std::int64_t> group_size;
};

// Checks the granularity against the data.
inline Granularity CheckGranularity(std::string_view op, const Tensor& data,
                                    std::optional<std::int64_t> axis,
                                    std::optional<std::int64_t> group_size) {
  Granularity result;
  if (!axis.has_value()) {
    if (!group_size.has_value()) return result;
    Fail(op, "axis", "given with group_size", "None",
         "Pass the axis along which the groups lie, such as axis=-1.");
  }
  result.axis = CheckAxis(op, *axis, data.dim());
  result.group_size = group_size;
  const std::int64_t size = data.size(*result.axis);
  if (group_size.has_value() && (*group_size < 1 || size % *group_size != 0)) {
    Fail(op, "group_size", "a divisor of x.size(axis) = " + std::to_string(size),
         std::to_string(*group_size), "Choose a divisor or pad x along the axis.");
  }
  return result;
}

// The shape of the scales of a granularity; per tensor any tensor of one element serves as well.
inline std::vector<std::int64_t> ScaleShape(const Tensor& data, const Granularity& granularity) {
  if (!granularity.axis.has_value()) return {1};
  const auto shape = Sizes(data);
  if (!granularity.group_size.has_value()) return {shape[*granularity.axis]};
  std::vector<std::int64_t> groups(shape.begin(), shape.end());
  groups[*granularity.axis] /= *granularity.group_size;
  return groups;
}

// Checks dtype, device, granularity and shape of scale against the data.
inline Granularity CheckScales(std::string_view op, const Tensor& data, const Tensor& scale,
                               std::optional<std::int64_t> axis,
                               std::optional<std::int64_t> group_size) {
  CheckDtype(op, "scale", scale, ScalarType::Float);
  CheckDevice(op, "scale", scale, data);
  const Granularity result = CheckGranularity(op, data, axis, group_size);
  if (result.axis.has_value()) {
    CheckShape(op, "scale", scale, ScaleShape(data, result),
               group_size.has_value()
                   ? "One scale per group: x's shape with x.size(axis) / group_size at the axis."
                   : "One scale per channel of the axis.");
  } else if (scale.numel() != 1) {
    Fail(op, "scale", "one value for axis=None", "shape " + ShapeName(Sizes(scale)),
         "Pass axis= for one scale per channel.");
  }
  return result;
}

// The same and zero_point, which has the shape of scale.
inline Granularity CheckQParams(std::string_view op, const Tensor& data, const Tensor& scale,
                                const Tensor& zero_point, std::optional<std::int64_t> axis,
                                std::optional<std::int64_t> group_size) {
  CheckDtype(op, "zero_point", zero_point, ScalarType::Int);
  CheckDevice(op, "zero_point", zero_point, data);
  const Granularity granularity = CheckScales(op, data, scale, axis, group_size);
  CheckShape(op, "zero_point", zero_point, Sizes(scale), "It has the shape of scale.");
  return granularity;
}

inline void CheckMask(std::string_view op, const std::optional<Tensor>& mask, const Tensor& data) {
  if (!mask.has_value()) return;
  CheckDtype(op, "mask", *mask, ScalarType::Bool);
  CheckDevice(op, "mask", *mask, data);
  CheckShape(op, "mask", *mask, Sizes(data), "A mask has one value for each element of x.");
}

inline void CheckState(std::string_view op, std::string_view argument, const Tensor& state,
                       ScalarType dtype, std::int64_t size, const Tensor& x) {
  CheckDtype(op, argument, state, dtype);
  CheckDevice(op, argument, state, x);
  CheckShape(op, argument, state, {&size, 1}, "The state has one value per channel, count has 2.");
  if (state.is_contiguous()) return;
  Fail(op, argument, "contiguous", "a strided view",
       "It is written in place: pass the buffer itself.");
}

// The state of observe_minmax_: it is written in place, so it must lie contiguously.
inline Granularity CheckObserverState(std::string_view op, const Tensor& x, const Tensor& min_val,
                                      const Tensor& max_val, const Tensor& count,
                                      std::optional<double> averaging,
                                      std::optional<std::int64_t> axis) {
  const Granularity granularity = {
      axis.has_value() ? std::optional(CheckAxis(op, *axis, x.dim())) : std::nullopt, std::nullopt};
  const std::int64_t channels = granularity.axis.has_value() ? x.size(*granularity.axis) : 1;
  constexpr std::int64_t kCounters = 2;
  CheckState(op, "min_val", min_val, ScalarType::Float, channels, x);
  CheckState(op, "max_val", max_val, ScalarType::Float, channels, x);
  CheckState(op, "count", count, ScalarType::Long, kCounters, x);
  if (averaging.has_value() && !(*averaging > 0.0 && *averaging <= 1.0)) {
    Fail(op, "averaging", "in (0, 1]", std::to_string(*averaging),
         "0.01 follows slowly, 1 keeps the last batch only, None keeps the extremes.");
  }
  return granularity;
}

// That of observe_fake_quantize_: the same, and the scale and zero point that follow from it.
inline Granularity CheckQuantizerState(std::string_view op, const Tensor& x, const Tensor& min_val,
                                       const Tensor& max_val, const Tensor& count,
                                       const Tensor& scale, const Tensor& zero_point,
                                       std::optional<double> averaging,
                                       std::optional<std::int64_t> axis) {
  const Granularity granularity =
      CheckObserverState(op, x, min_val, max_val, count, averaging, axis);
  CheckState(op, "scale", scale, ScalarType::Float, min_val.numel(), x);
  CheckState(op, "zero_point", zero_point, ScalarType::Int, min_val.numel(), x);
  return granularity;
}

inline void CheckPackBits(std::string_view op, std::int64_t bits) {
  if (bits == 2 || bits == 4 || bits == 8) return;
  Fail(op, "bits", "2, 4 or 8", std::to_string(bits),
       "Store 3-bit codes in 4 bits, 5 to 7-bit codes in 8.");
}

// Returns the number of codes that `shape` holds, which `packed` must have room for exactly.
inline std::int64_t CheckUnpackShape(const Tensor& packed, std::int64_t bits,
                                     std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) {
      Fail("unpack", "shape", "a list of sizes >= 0", ShapeName(shape),
           "Pass the shape of the codes before pack.");
    }
  }
  const std::int64_t per_byte = 8 / bits;
  const std::int64_t bytes = count / per_byte + (count % per_byte != 0 ? 1 : 0);
  CheckShape("unpack", "packed", packed, {&bytes, 1}, "shape and bits must be those of pack.");
  return count;
}

}  // namespace edgeqat::torch_ops
