// SPDX-License-Identifier: Apache-2.0
// FastDivisor against the machine's division, around every multiple that rounding could miss.
#include "cuda/fast_divisor.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>

namespace edgeqat::cuda {
namespace {

constexpr std::int64_t kMax = INT64_MAX;

void ExpectDivides(std::int64_t n, std::int64_t d) {
  const FastDivisor divisor(d);
  ASSERT_EQ(divisor.Divide(n), n / d) << n << " / " << d;
  ASSERT_EQ(divisor.Modulo(n), n % d) << n << " % " << d;
}

TEST(FastDivisor, SmallNumbersExhaustively) {
  for (std::int64_t d = 1; d <= 130; ++d) {
    for (std::int64_t n = 0; n <= 600; ++n) ExpectDivides(n, d);
  }
}

TEST(FastDivisor, PowersOfTwoAndTheirNeighbours) {
  for (int i = 0; i < 63; ++i) {
    for (int j = 0; j < 63; ++j) {
      for (const std::int64_t d : {(INT64_C(1) << i) - 1, INT64_C(1) << i, (INT64_C(1) << i) + 1}) {
        if (d < 1) continue;
        for (const std::int64_t n :
             {(INT64_C(1) << j) - 1, INT64_C(1) << j, (INT64_C(1) << j) + 1}) {
          ExpectDivides(n, d);
        }
      }
    }
  }
}

TEST(FastDivisor, LargestDividend) {
  for (const std::int64_t d :
       {INT64_C(1), INT64_C(3), INT64_C(7), INT64_C(641), kMax / 2, kMax - 1, kMax}) {
    ExpectDivides(kMax, d);
    ExpectDivides(kMax - 1, d);
  }
}

TEST(FastDivisor, RandomMultiplesAndTheirNeighbours) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const auto d = static_cast<std::int64_t>(random() >> (1 + random() % 62)) + 1;
    const std::int64_t quotient = static_cast<std::int64_t>(random() >> 1) % (kMax / d);
    const std::int64_t multiple = quotient * d;
    ExpectDivides(multiple, d);
    if (multiple > 0) ExpectDivides(multiple - 1, d);
    if (multiple < kMax - d) ExpectDivides(multiple + d - 1, d);
  }
}

}  // namespace
}  // namespace edgeqat::cuda
