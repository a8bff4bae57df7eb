// SPDX-License-Identifier: Apache-2.0
// choose_qparams for one channel: scalar, host-only, in double.
#include "edgeqat/qparams.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "edgeqat/error.h"

namespace edgeqat {
namespace {

void CheckArguments(float min, float max, std::int32_t qmin, std::int32_t qmax) {
  if (qmin >= qmax || std::int64_t{qmax} - qmin > 255) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "choose_qparams: qmin, qmax must satisfy qmin < qmax and qmax - qmin <= 255, found " +
            std::to_string(qmin) + ", " + std::to_string(qmax) +
            ". Use -128, 127 for int8 or 0, 255 for uint8.");
  }
  if (!std::isfinite(min) || !std::isfinite(max) || min > max) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "choose_qparams: min_val, max_val must be finite with min_val <= max_val (or +inf, -inf "
        "for a channel never observed), found " +
            std::to_string(min) + ", " + std::to_string(max) +
            ". Use the state of observe_minmax_, which skips non-finite values.");
  }
}

// A denormal scale has an infinite reciprocal where denormals are flushed; NaN fails the comparison
// as well.
bool IsUsable(float scale) { return scale >= std::numeric_limits<float>::min(); }

// (3.4e38 + 3.4e38) / 1 does not fit in float32; the largest finite scale then saturates instead.
float RoundScale(double scale) {
  return static_cast<float>(std::min(scale, double{std::numeric_limits<float>::max()}));
}

std::int32_t ClampCode(double code, std::int32_t qmin, std::int32_t qmax) {
  return static_cast<std::int32_t>(
      std::clamp(code, static_cast<double>(qmin), static_cast<double>(qmax)));
}

}  // namespace

QParams ChooseQParams(float min, float max, std::int32_t qmin, std::int32_t qmax, bool symmetric) {
  const bool never_observed = min == std::numeric_limits<float>::infinity() && max == -min;
  if (never_observed) min = max = 0.0F;
  CheckArguments(min, max, qmin, qmax);
  const double levels = static_cast<double>(qmax) - qmin;
  if (symmetric) {
    const double amax =
        std::max(std::abs(static_cast<double>(min)), std::abs(static_cast<double>(max)));
    const float scale = RoundScale(amax / (levels / 2));
    const std::int32_t zero_point = qmin < 0 ? 0 : (qmin + qmax + 1) / 2;
    return {IsUsable(scale) ? scale : 1.0F, zero_point};
  }
  const double low = std::min(static_cast<double>(min), 0.0);
  const double high = std::max(static_cast<double>(max), 0.0);
  const float scale = RoundScale((high - low) / levels);
  if (!IsUsable(scale)) return {1.0F, ClampCode(0.0, qmin, qmax)};
  // nearbyint rounds half to even in the default rounding mode, as the kernels do
  const double zero_point = std::nearbyint(qmin - low / static_cast<double>(scale));
  return {scale, ClampCode(zero_point, qmin, qmax)};
}

}  // namespace edgeqat
