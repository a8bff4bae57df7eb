// SPDX-License-Identifier: Apache-2.0
// Element counts, names and checked views of the owning tensor.
#include "edgeqat/tensor.h"

#include <array>
#include <cstring>
#include <limits>

#include "edgeqat/error.h"

namespace edgeqat {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::size_t size;
};

constexpr std::array<DTypeInfo, 8> kDTypes = {{{"float32", 4},
                                               {"float16", 2},
                                               {"bfloat16", 2},
                                               {"int8", 1},
                                               {"uint8", 1},
                                               {"int32", 4},
                                               {"int64", 8},
                                               {"bool", 1}}};

const DTypeInfo& InfoOf(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  if (index >= kDTypes.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "tensor: dtype: expected one of the 8 known codes, found code " +
                    std::to_string(index) + "; build the tensor with a DType constant");
  }
  return kDTypes[index];
}

}  // namespace

std::size_t SizeOf(DType dtype) { return InfoOf(dtype).size; }

std::string_view DTypeName(DType dtype) { return InfoOf(dtype).name; }

DType ParseDType(std::string_view name) {
  for (std::size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == name) return static_cast<DType>(i);
  }
  throw Error(ErrorCode::kInvalidArgument,
              "tensor: dtype: expected float32, float16, bfloat16, int8, uint8, int32, int64 or "
              "bool, found \"" +
                  std::string(name.substr(0, 64)) + "\"; convert the tensor to one of them");
}

std::int64_t NumElements(std::span<const std::int64_t> shape) {
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  "tensor: shape: expected extents >= 0, found " + ShapeString(shape) +
                      "; resolve dynamic dimensions before storing values");
    }
    empty = empty || extent == 0;
    if (extent > 1 && product > std::numeric_limits<std::int64_t>::max() / extent) {
      throw Error(ErrorCode::kInvalidArgument,
                  "tensor: shape: expected fewer than 2^63 elements, found " + ShapeString(shape) +
                      "; the shape is damaged or a dimension is wrong");
    }
    product *= extent > 1 ? extent : 1;
  }
  return empty ? 0 : product;
}

std::size_t NumBytes(DType dtype, std::span<const std::int64_t> shape) {
  const auto count = static_cast<std::uint64_t>(NumElements(shape));
  const std::size_t size = SizeOf(dtype);
  if (count > static_cast<std::uint64_t>(std::numeric_limits<std::ptrdiff_t>::max()) / size) {
    throw Error(ErrorCode::kInvalidArgument,
                "tensor: shape: expected fewer than 2^63 bytes, found " + ShapeString(shape) +
                    " of " + std::string(DTypeName(dtype)) + "; the shape is damaged");
  }
  return static_cast<std::size_t>(count) * size;
}

std::string ShapeString(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

Tensor Tensor::Zeros(DType dtype, std::vector<std::int64_t> shape) {
  Tensor tensor;
  tensor.data.resize(NumBytes(dtype, shape));
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  return tensor;
}

std::size_t Tensor::CheckedCount(DType wanted) const {
  if (wanted != dtype) {
    throw Error(ErrorCode::kInvalidArgument,
                "tensor: dtype: expected " + std::string(DTypeName(wanted)) + ", found " +
                    std::string(DTypeName(dtype)) + "; read it as the type it was stored with");
  }
  const std::size_t bytes = NumBytes(dtype, shape);
  if (bytes != data.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "tensor: data: expected " + std::to_string(bytes) + " bytes for shape " +
                    ShapeString(shape) + " of " + std::string(DTypeName(dtype)) + ", found " +
                    std::to_string(data.size()) + "; make shape and data agree");
  }
  return bytes / SizeOf(dtype);
}

void Tensor::CopyFrom(const void* values, std::size_t count, std::size_t element_size) {
  if (count * element_size != data.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "tensor: values: expected " + std::to_string(NumElements()) + " values for shape " +
                    ShapeString(shape) + ", found " + std::to_string(count) +
                    "; make shape and values agree");
  }
  if (!data.empty()) std::memcpy(data.data(), values, data.size());
}

}  // namespace edgeqat
