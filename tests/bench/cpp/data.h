// SPDX-License-Identifier: Apache-2.0
// The tensor that every benchmark works on: warm buffers, values that clip in a few per cent.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/reference/float16_ref.h"
#include "edgeqat/fake_quantize.h"

namespace edgeqat::bench {

// 64-byte aligned, as torch allocates.
template <typename T>
class Aligned {
 public:
  explicit Aligned(std::int64_t count)
      : storage_(static_cast<std::size_t>(count) * sizeof(T) + 64),
        data_(reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(storage_.data()) + 63) / 64 *
                                   64)) {}
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  [[nodiscard]] T* data() const { return data_; }

 private:
  std::vector<char> storage_;
  T* data_;
};

// int8 around 0 with scale 0.05: the grid ends at 6.4, the values at +-8.
class Data {
 public:
  Data(FloatType type, std::int64_t count)
      : count_(count), x_(count * SizeOf(type)), y_(count * SizeOf(type)), bits_(count / 8 + 1) {
    std::uint32_t state = 1;
    for (std::int64_t i = 0; i < count; ++i) {
      state = state * 1664525U + 1013904223U;
      const auto value = static_cast<float>(static_cast<std::int32_t>(state)) * 0x1p-28F;
      reference::StoreFloat(value, type, i, x_.data());
    }
    std::memset(bits_.data(), 0x5A, static_cast<std::size_t>(count / 8 + 1));
    quantize = {.dtype = type,
                .layout = QuantLayout::PerTensor(count),
                .x = x_.data(),
                .scale = &scale_,
                .zero_point = &zero_point_,
                .y = y_.data()};
    backward = {.dtype = type,
                .numel = count,
                .grad = x_.data(),
                .bits = bits_.data(),
                .grad_x = y_.data()};
  }

  [[nodiscard]] std::uint8_t* bits() const { return bits_.data(); }
  [[nodiscard]] std::int64_t count() const { return count_; }

  FakeQuantizeArgs quantize;
  FakeQuantizeBackwardArgs backward;

 private:
  std::int64_t count_;
  Aligned<char> x_, y_;
  Aligned<std::uint8_t> bits_;
  float scale_ = 0.05F;
  std::int32_t zero_point_ = 3;
};

}  // namespace edgeqat::bench
