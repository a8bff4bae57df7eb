// SPDX-License-Identifier: Apache-2.0
// Says what an operator was given, in the words of a Python user, and refuses it.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "edgeqat/error.h"

namespace edgeqat::torch_ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// "edgeqat::<op>: <argument> must be <expected>, found <found>. <next step>"
[[noreturn]] inline void Fail(std::string_view op, std::string_view argument,
                              std::string_view expected, std::string_view found,
                              std::string_view next, ErrorCode code = ErrorCode::kInvalidArgument) {
  std::string message = "edgeqat::";
  message.append(op).append(": ").append(argument).append(" must be ").append(expected);
  message.append(", found ").append(found).append(". ").append(next);
  throw Error(code, message);
}

// The names that a Python user knows.
inline std::string DtypeName(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Byte:
      return "uint8";
    case ScalarType::Char:
      return "int8";
    case ScalarType::Short:
      return "int16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Bool:
      return "bool";
    default:
      return torch::headeronly::toString(type);
  }
}

inline std::span<const std::int64_t> Sizes(const Tensor& tensor) {
  const auto sizes = tensor.sizes();
  return {sizes.data(), sizes.size()};
}

inline std::span<const std::int64_t> Strides(const Tensor& tensor) {
  const auto strides = tensor.strides();
  return {strides.data(), strides.size()};
}

inline std::string ShapeName(std::span<const std::int64_t> shape) {
  std::string name = "[";
  for (const std::int64_t size : shape) {
    name.append(name.size() > 1 ? ", " : "").append(std::to_string(size));
  }
  return name + "]";
}

inline std::string DeviceName(const Tensor& tensor) {
  if (tensor.is_cpu()) return "cpu";
  return (tensor.is_cuda() ? "cuda:" : "device ") + std::to_string(tensor.get_device_index());
}

}  // namespace edgeqat::torch_ops
