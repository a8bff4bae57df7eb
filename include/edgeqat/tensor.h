// SPDX-License-Identifier: Apache-2.0
// A small owning dense tensor: what the integer reference computes on and what a checkpoint holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace edgeqat {

enum class DType : std::uint8_t {
  kFloat32,
  kFloat16,   // 2 bytes, stored only: no arithmetic on it in the core
  kBFloat16,  // 2 bytes, stored only
  kInt8,
  kUint8,
  kInt32,
  kInt64,
  kBool,  // 1 byte, 0 or 1
};

// Bytes of one element: 4, 2, 2, 1, 1, 4, 8, 1 in the order of the enum.
[[nodiscard]] std::size_t SizeOf(DType dtype);

// "float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool".
[[nodiscard]] std::string_view DTypeName(DType dtype);

// The inverse of DTypeName; throws Error(kInvalidArgument) naming the known names.
[[nodiscard]] DType ParseDType(std::string_view name);

// Product of `shape`; 1 for an empty shape (a scalar). Throws Error(kInvalidArgument) where an
// extent is negative or the product exceeds 2^63 - 1, even if another extent is 0: [2^62, 2^62, 0]
// is refused, because every stride of it would already have wrapped.
[[nodiscard]] std::int64_t NumElements(std::span<const std::int64_t> shape);

// NumElements(shape) * SizeOf(dtype), refused where it does not fit size_t.
[[nodiscard]] std::size_t NumBytes(DType dtype, std::span<const std::int64_t> shape);

// "[1, 3, 32, 32]", for messages.
[[nodiscard]] std::string ShapeString(std::span<const std::int64_t> shape);

// The DType of a C++ element type; bool maps to kBool, the 16-bit floats have no C++20 type.
template <typename T>
constexpr DType DTypeOf() {
  if constexpr (std::is_same_v<T, float>) return DType::kFloat32;
  if constexpr (std::is_same_v<T, std::int8_t>) return DType::kInt8;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DType::kUint8;
  if constexpr (std::is_same_v<T, std::int32_t>) return DType::kInt32;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::kInt64;
  if constexpr (std::is_same_v<T, bool>) return DType::kBool;
}

// Row-major, contiguous. `data` holds exactly NumBytes(dtype, shape) bytes; code that fills the
// members by hand keeps that (the accessors check it).
struct Tensor {
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;

  // A tensor of zeros.
  [[nodiscard]] static Tensor Zeros(DType dtype, std::vector<std::int64_t> shape);

  // A tensor that copies `values`; throws where values.size() != NumElements(shape).
  template <typename T>
  [[nodiscard]] static Tensor From(std::vector<std::int64_t> shape, std::span<const T> values) {
    Tensor tensor = Zeros(DTypeOf<T>(), std::move(shape));
    tensor.CopyFrom(values.data(), values.size(), sizeof(T));
    return tensor;
  }

  [[nodiscard]] std::int64_t NumElements() const { return edgeqat::NumElements(shape); }

  // Typed views. Throws Error(kInvalidArgument) where T is not `dtype` or `data` has the wrong
  // size.
  template <typename T>
  [[nodiscard]] std::span<const T> Span() const {
    return {reinterpret_cast<const T*>(data.data()), CheckedCount(DTypeOf<T>())};
  }
  template <typename T>
  [[nodiscard]] std::span<T> MutableSpan() {
    return {reinterpret_cast<T*>(data.data()), CheckedCount(DTypeOf<T>())};
  }

  friend bool operator==(const Tensor&, const Tensor&) = default;

 private:
  [[nodiscard]] std::size_t CheckedCount(DType wanted) const;
  void CopyFrom(const void* values, std::size_t count, std::size_t element_size);
};

}  // namespace edgeqat
