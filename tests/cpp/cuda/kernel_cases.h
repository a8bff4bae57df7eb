// SPDX-License-Identifier: Apache-2.0
// Inputs that the kernel tests share: layouts, sizes around a chunk, and hard values.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuda/emulation.h"
#include "cuda/float_types.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::cuda {

struct LayoutCase {
  std::string name;
  QuantLayout layout;
};

// Every granularity, with rows that are whole chunks and rows that are not.
inline std::vector<LayoutCase> LayoutCases() {
  const std::vector<std::int64_t> conv = {6, 4, 3, 3};
  const std::vector<std::int64_t> image = {2, 5, 4, 6};
  const std::vector<std::int64_t> linear = {12, 64};
  return {{"tensor", QuantLayout::PerTensor(531)},
          {"conv channel 0", QuantLayout::PerChannel(conv, 0)},
          {"conv channel 1", QuantLayout::PerChannel(conv, 1)},
          {"image channel, whole chunks", QuantLayout::PerChannel(image, 1)},
          {"channel innermost", QuantLayout::PerChannel(image, 3)},
          {"linear channel 0", QuantLayout::PerChannel(linear, 0)},
          {"group of 16, last axis", QuantLayout::PerGroup(linear, 1, 16)},
          {"group of 4, last axis", QuantLayout::PerGroup(linear, 1, 4)},
          {"group of 3, first axis", QuantLayout::PerGroup(linear, 0, 3)}};
}

// Lengths around the chunk of 8 and the 2048 elements of a block, and more than the 8 or 32 blocks
// of one multiprocessor hold, so that threads take a second stride.
inline std::vector<std::int64_t> Sizes() {
  std::vector<std::int64_t> sizes;
  for (std::int64_t n = 0; n <= 34; ++n) sizes.push_back(n);
  for (const std::int64_t n : {2047, 2048, 2049, 16384, 16391, 40003, 70001}) sizes.push_back(n);
  return sizes;
}

// Values on, beside and between the ties of a grid with `scale`, and what no grid holds.
inline std::vector<float> HardValues(std::int64_t n, float scale, unsigned seed) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> special = {0.0f,  -0.0f,  kInfinity, -kInfinity, std::nanf(""),
                                      3e38f, -3e38f, 1e-45f,    -1e-45f,    1.17549435e-38f};
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& v : values) {
    const float tie = (static_cast<float>(random() % 600) - 300.0f) * 0.5f * scale;
    switch (random() % 5) {
      case 0:
        v = tie;
        break;
      case 1:
        v = std::nextafter(tie, kInfinity);
        break;
      case 2:
        v = std::nextafter(tie, -kInfinity);
        break;
      case 3:
        v = special[random() % special.size()];
        break;
      default:
        v = (static_cast<float>(random() % 20001) / 10000.0f - 1.0f) * 200.0f * scale;
    }
  }
  return values;
}

// Keeps two of three elements, in no regular order.
inline std::vector<std::uint8_t> RandomMask(std::int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(n));
  for (std::uint8_t& keep : mask) keep = static_cast<std::uint8_t>(random() % 3 != 0);
  return mask;
}

template <typename T>
std::vector<T> As(const std::vector<float>& values) {
  std::vector<T> result;
  for (const float v : values) result.push_back(FromFloat<T>(v));
  return result;
}

template <typename T>
constexpr FloatType TypeOf() {
  return sizeof(T) == 4 ? FloatType::kFloat32
                        : (std::is_same_v<T, Float16> ? FloatType::kFloat16 : FloatType::kBFloat16);
}

// Bits equal, or both NaN: the payload of a NaN is not part of the contract.
template <typename T>
bool SameValue(T a, T b) {
  const float left = ToFloat(a);
  const float right = ToFloat(b);
  if (std::isnan(left) || std::isnan(right)) return std::isnan(left) && std::isnan(right);
  return BitCast<std::uint32_t>(left) == BitCast<std::uint32_t>(right);
}

// Memory of n elements whose first has the wished distance from a 64-byte boundary, so that tests
// reach the vector path (0) and the other one. A store beyond the end is found in the bytes that
// follow, by the address sanitizer where it runs.
template <typename T>
class Buffer {
 public:
  explicit Buffer(std::int64_t n, std::size_t offset_elements = 0)
      : size_((static_cast<std::size_t>(n) + offset_elements) * sizeof(T)),
        storage_(static_cast<unsigned char*>(::operator new(size_ + kGuard, std::align_val_t{64}))),
        data_(reinterpret_cast<T*>(storage_) + offset_elements) {
    std::memset(storage_ + size_, kPattern, kGuard);
  }
  explicit Buffer(const std::vector<T>& values, std::size_t offset_elements = 0)
      : Buffer(static_cast<std::int64_t>(values.size()), offset_elements) {
    std::copy(values.begin(), values.end(), data_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    for (std::size_t i = 0; i < kGuard; ++i) {
      if (storage_[size_ + i] == kPattern) continue;
      ADD_FAILURE() << "a kernel wrote " << i << " bytes beyond the end";
      break;
    }
    ::operator delete(storage_, std::align_val_t{64});
  }

  [[nodiscard]] T* data() const { return data_; }
  T& operator[](std::int64_t i) const { return data_[i]; }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::size_t kGuard = 0;
#else
  static constexpr std::size_t kGuard = 64;
#endif
  static constexpr unsigned char kPattern = 0xa5;
  std::size_t size_;
  unsigned char* storage_;
  T* data_;
};

}  // namespace edgeqat::cuda
