// SPDX-License-Identifier: Apache-2.0
// Division of a 64-bit index by a run-time constant with one multiplication.
//
// A 64-bit division costs about 100 instructions on a GPU, as much as quantizing 8 elements; a
// high multiplication costs 4. With l = ceil(log2 d) and m = floor(2^(63+l) / d) + 1 the quotient
// floor(n / d) is (n * m) >> (63 + l) for every 0 <= n < 2^63: m * d = 2^(63+l) + e with
// 0 < e <= d <= 2^l, so the error n * e / (d * 2^(63+l)) stays below 1 / d. And m < 2^64, because
// d > 2^(l-1). d = 1 has l = 0 and is answered directly.
#pragma once

#include <cstdint>

#include "cuda/host_device.h"

namespace edgeqat::cuda {

class FastDivisor {
 public:
  FastDivisor() = default;

  // Expects divisor >= 1.
  explicit FastDivisor(std::int64_t divisor) : divisor_(divisor) {
    int log2_ceil = 0;
    while (log2_ceil < 63 &&
           (std::uint64_t{1} << log2_ceil) < static_cast<std::uint64_t>(divisor)) {
      ++log2_ceil;
    }
    if (log2_ceil == 0) return;
    shift_ = log2_ceil - 1;
    const auto numerator = static_cast<unsigned __int128>(1) << (63 + log2_ceil);
    magic_ = static_cast<std::uint64_t>(numerator / static_cast<std::uint64_t>(divisor)) + 1;
  }

  // floor(n / divisor) for n >= 0.
  [[nodiscard]] EDGEQAT_HOST_DEVICE std::int64_t Divide(std::int64_t n) const {
    if (divisor_ == 1) return n;
    const auto u = static_cast<std::uint64_t>(n);
#if defined(__CUDA_ARCH__)
    const std::uint64_t high = __umul64hi(u, magic_);
#else
    const auto high =
        static_cast<std::uint64_t>((static_cast<unsigned __int128>(u) * magic_) >> 64);
#endif
    return static_cast<std::int64_t>(high >> shift_);
  }

  // n % divisor for n >= 0.
  [[nodiscard]] EDGEQAT_HOST_DEVICE std::int64_t Modulo(std::int64_t n) const {
    return n - Divide(n) * divisor_;
  }

  [[nodiscard]] EDGEQAT_HOST_DEVICE std::int64_t divisor() const { return divisor_; }

 private:
  std::int64_t divisor_ = 1;
  std::uint64_t magic_ = 0;
  int shift_ = 0;
};

}  // namespace edgeqat::cuda
