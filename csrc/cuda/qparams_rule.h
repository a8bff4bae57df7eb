// SPDX-License-Identifier: Apache-2.0
// ChooseQParams (edgeqat/qparams.h) for one channel on the device: the same steps in double.
#pragma once

#include <float.h>
#include <math.h>

#include <cstdint>

#include "cuda/host_device.h"

namespace edgeqat::cuda {

struct ScaleAndZeroPoint {
  float scale;
  std::int32_t zero_point;
};

// Where the host raises an error (NaN, an infinite bound, min > max) the scale is NaN: a kernel
// cannot raise, and a NaN scale makes every value computed with it NaN instead of plausible.
EDGEQAT_HOST_DEVICE inline ScaleAndZeroPoint ChooseQParamsRule(float min, float max,
                                                               std::int32_t qmin, std::int32_t qmax,
                                                               bool symmetric) {
  if (min == INFINITY && max == -INFINITY) min = max = 0.0f;  // never observed
  const double lowest = qmin;
  const double highest = qmax;
  const double levels = highest - lowest;
  const std::int32_t code_of_zero = qmin > 0 ? qmin : (qmax < 0 ? qmax : 0);
  const bool valid = min <= max && min > -INFINITY && max < INFINITY;
  if (symmetric) {
    const double low = fabs(static_cast<double>(min));
    const double high = fabs(static_cast<double>(max));
    const auto scale = static_cast<float>((low > high ? low : high) / (levels / 2.0));
    const std::int32_t zero_point = qmin < 0 ? 0 : (qmin + qmax + 1) / 2;
    if (!valid) return {NAN, zero_point};
    return {scale >= FLT_MIN ? scale : 1.0f, zero_point};
  }
  const double low = min < 0.0f ? min : 0.0;
  const double high = max > 0.0f ? max : 0.0;
  const auto scale = static_cast<float>((high - low) / levels);
  if (!valid) return {NAN, code_of_zero};
  if (!(scale >= FLT_MIN)) return {1.0f, code_of_zero};
  const double code = rint(lowest - low / static_cast<double>(scale));
  const double clamped = code < lowest ? lowest : (code > highest ? highest : code);
  return {scale, static_cast<std::int32_t>(clamped)};
}

}  // namespace edgeqat::cuda
