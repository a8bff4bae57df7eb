// SPDX-License-Identifier: Apache-2.0
// Oscillation of weights between two codes: counts it after every optimizer step, and freezes the
// weights that oscillate too often (Nagel et al., Overcoming Oscillations in QAT, ICML 2022).
#pragma once

#include <cstdint>
#include <limits>

#include "edgeqat/host_device.h"
#include "edgeqat/parallel.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

// What is known of one weight; every field is an integer or in [0, 1] unless it is a mean.
struct OscillationState {
  float code = 0.0F;
  float direction = 0.0F;  // of the last change of the code: -1, 0 (none yet) or 1
  float frequency = 0.0F;
  float mean_code = 0.0F;  // NaN: not seen yet
  bool frozen = false;
};

// One step of a weight whose code is now `code`, in float32, every operation rounded once.
//
//   o          the code changed, and against the direction of its last change
//   frequency  momentum * o + (1 - momentum) * frequency
//   mean_code  momentum * code + (1 - momentum) * mean_code
//   frozen     as soon as frequency > threshold; from then on nothing changes any more, and the
//              code is mean_code, rounded half to even, within [qmin, qmax]
//
// The first sight of a weight (mean_code is NaN) sets code and mean_code, direction and frequency
// to 0.
EDGEQAT_FORMULA constexpr OscillationState NextOscillation(const OscillationState& last, float code,
                                                           float qmin, float qmax, float momentum,
                                                           float threshold) {
  const float keep = 1.0F - momentum;
  const bool seen = last.mean_code == last.mean_code;
  const float up = code > last.code ? 1.0F : 0.0F;
  const float change = code < last.code ? -1.0F : up;
  const float oscillates = change * last.direction < 0.0F ? 1.0F : 0.0F;
  const float direction = change == 0.0F ? last.direction : change;
  const float frequency = momentum * oscillates + keep * last.frequency;
  const float mean_code = momentum * code + keep * last.mean_code;

  OscillationState next;
  next.direction = seen ? (last.frozen ? last.direction : direction) : 0.0F;
  next.frequency = seen ? (last.frozen ? last.frequency : frequency) : 0.0F;
  next.mean_code = seen ? (last.frozen ? last.mean_code : mean_code) : code;
  next.frozen = last.frozen || next.frequency > threshold;
  // adding 1.5 * 2^23 rounds half to even; the clamp before it keeps a damaged mean in its range
  const float above = next.mean_code < qmin ? qmin : next.mean_code;
  const float clamped = above > qmax ? qmax : above;
  const float mean = (clamped + 0x1.8p23F) - 0x1.8p23F;
  next.code = next.frozen ? mean : code;
  return next;
}

// All weights of a tensor in one pass, in place: code = the integer code of the weight as
// `quantize` gives it (a NaN has the zero point), then NextOscillation; a frozen weight becomes
// (code - zero_point) * scale at every call, so that it follows its scale.
//
// Pointers as in FakeQuantizeArgs; all arrays but scale and zero_point have one value per element,
// in the order of the weight. Preconditions, not checked here (the op checks them): those of
// fake_quantize with codes in [-128, 127], and momentum in (0, 1].
struct OscillationUpdateArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  void* weight = nullptr;
  const float* scale = nullptr;
  const std::int32_t* zero_point = nullptr;
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  std::int8_t* codes = nullptr;
  std::int8_t* direction = nullptr;
  float* frequency = nullptr;
  float* mean_code = nullptr;
  std::uint8_t* frozen = nullptr;  // 0 or 1
  float momentum = 0.01F;
  float freeze_threshold = std::numeric_limits<float>::infinity();  // never freezes
};
void oscillation_update(const OscillationUpdateArgs& args, const ParallelFor& pool = {});

}  // namespace edgeqat
