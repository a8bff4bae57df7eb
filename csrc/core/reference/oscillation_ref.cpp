// SPDX-License-Identifier: Apache-2.0
// Oscillation of one weight after the other, in integers and branches, without the kernels'
// selects.
#include "core/reference/oscillation_ref.h"

#include <algorithm>
#include <cmath>

#include "core/reference/float16_ref.h"

namespace edgeqat::reference {
namespace {

std::int32_t CodeOf(float x, float scale, std::int32_t zero_point, std::int32_t qmin,
                    std::int32_t qmax) {
  const float quotient = x / scale;
  if (std::isnan(quotient)) return zero_point;
  const double code = std::nearbyint(static_cast<double>(quotient)) + zero_point;
  return static_cast<std::int32_t>(std::clamp<double>(code, qmin, qmax));
}

std::int32_t SignOf(std::int32_t value) { return (value > 0 ? 1 : 0) - (value < 0 ? 1 : 0); }

void Count(const OscillationUpdateArgs& args, std::int64_t e, std::int32_t code) {
  if (std::isnan(args.mean_code[e])) {
    args.direction[e] = 0;
    args.frequency[e] = 0.0F;
    args.mean_code[e] = static_cast<float>(code);
  } else {
    const float keep = 1.0F - args.momentum;
    const std::int32_t change = SignOf(code - args.codes[e]);
    const bool oscillates = change != 0 && change == -SignOf(args.direction[e]);
    if (change != 0) args.direction[e] = static_cast<std::int8_t>(change);
    args.frequency[e] = (oscillates ? args.momentum : 0.0F) + keep * args.frequency[e];
    args.mean_code[e] = args.momentum * static_cast<float>(code) + keep * args.mean_code[e];
  }
  if (args.frequency[e] > args.freeze_threshold) args.frozen[e] = 1;
}

}  // namespace

void oscillation_update_ref(const OscillationUpdateArgs& args) {
  for (std::int64_t e = 0; e < args.layout.numel(); ++e) {
    const std::int64_t s = args.layout.index(e);
    std::int32_t code = CodeOf(LoadFloat(args.weight, args.dtype, e), args.scale[s],
                               args.zero_point[s], args.qmin, args.qmax);
    if (args.frozen[e] == 0 || std::isnan(args.mean_code[e])) Count(args, e, code);
    if (args.frozen[e] != 0) {
      const double mean = std::nearbyint(static_cast<double>(args.mean_code[e]));
      code = static_cast<std::int32_t>(std::clamp<double>(mean, args.qmin, args.qmax));
      const float weight = static_cast<float>(code - args.zero_point[s]) * args.scale[s];
      StoreFloat(weight, args.dtype, e, args.weight);
    }
    args.codes[e] = static_cast<std::int8_t>(code);
  }
}

}  // namespace edgeqat::reference
