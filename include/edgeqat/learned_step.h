// SPDX-License-Identifier: Apache-2.0
// From the parameters that a training run learns to the step and the zero point of the grid: always
// a positive step and an integer zero point, so that training computes what is deployed.
#pragma once

#include <cstdint>

#include "edgeqat/host_device.h"

namespace edgeqat {

// How a scale parameter p becomes the step; the value is the `rule` argument of the operators. With
// m = max(|p|, 2^-100):
//
//   rule           step                  d step / d p
//   kLsq           m                     sign(p)                     Esser et al. 2020
//   kPowerOfTwo    2^ceil(log2 m)        step / m * sign(p)          Jain et al. 2020 (TQT)
//   kPact          m / (qmax - qmin)     sign(p) / (qmax - qmin)     Choi et al. 2018: p is alpha
//
// sign(0) = +1: a parameter that an optimizer step carries through 0 is reflected, and one that
// reaches 0 leaves it again. No clamp stops its gradient, and the step cannot be 0 or negative.
// A power of two is at most 2^127.
enum class StepRule : std::uint8_t { kLsq = 0, kPowerOfTwo = 1, kPact = 2 };

inline constexpr int kStepRules = 3;

namespace internal {

EDGEQAT_FORMULA constexpr float StepMagnitude(float p) {
  const float magnitude = p < 0.0F ? -p : p;
  return magnitude > 0x1p-100F ? magnitude : 0x1p-100F;
}

// The next power of two: a mantissa other than 0 counts the exponent up. m is normal.
EDGEQAT_FORMULA constexpr float PowerOfTwoFrom(float m) {
  const auto bits = __builtin_bit_cast(std::uint32_t, m);
  const std::uint32_t exponent = (bits + 0x007FFFFFU) & 0x7F800000U;
  return __builtin_bit_cast(float, exponent < 0x7F000000U ? exponent : 0x7F000000U);
}

}  // namespace internal

// The step of the grid, > 0 for every finite p.
[[nodiscard]] EDGEQAT_FORMULA constexpr float LearnedStep(float p, std::int32_t qmin,
                                                          std::int32_t qmax, StepRule rule) {
  const float m = internal::StepMagnitude(p);
  if (rule == StepRule::kPowerOfTwo) return internal::PowerOfTwoFrom(m);
  if (rule == StepRule::kPact) return m / static_cast<float>(qmax - qmin);
  return m;
}

// d step / d p. The ceiling of the power of two is passed straight through in the log domain.
[[nodiscard]] EDGEQAT_FORMULA constexpr double LearnedStepSlope(float p, std::int32_t qmin,
                                                                std::int32_t qmax, StepRule rule) {
  const double sign = p < 0.0F ? -1.0 : 1.0;
  if (rule == StepRule::kPact) return sign / static_cast<double>(qmax - qmin);
  if (rule == StepRule::kPowerOfTwo) {
    const float m = internal::StepMagnitude(p);
    return sign * static_cast<double>(internal::PowerOfTwoFrom(m)) / static_cast<double>(m);
  }
  return sign;
}

// The zero point of a learned offset (LSQ+, Bhalgat et al. 2020, snapped to the grid):
// clamp(rint(-offset / step), qmin, qmax). Half to even; the clamp comes first, which commutes with
// rounding to integers and keeps |v| < 2^22, where adding 1.5 * 2^23 rounds. NaN gives
// clamp(0, qmin, qmax).
[[nodiscard]] EDGEQAT_FORMULA constexpr std::int32_t LearnedZeroPoint(float offset, float step,
                                                                      std::int32_t qmin,
                                                                      std::int32_t qmax) {
  const auto low = static_cast<float>(qmin);
  const auto high = static_cast<float>(qmax);
  float v = -offset / step;
  v = v == v ? v : 0.0F;
  v = v < low ? low : (v > high ? high : v);
  return static_cast<std::int32_t>((v + 0x1.8p23F) - 0x1.8p23F);
}

}  // namespace edgeqat
