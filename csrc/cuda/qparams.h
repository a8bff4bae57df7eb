// SPDX-License-Identifier: Apache-2.0
// Launcher of choose_qparams: element-wise over the channels' ranges, on the device.
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace edgeqat::cuda {

// ChooseQParams (edgeqat/qparams.h) for each of `count` channels, bit for bit; an invalid range
// gives a NaN scale instead of an error. Conditions on pointers and streams as in
// cuda/fake_quantize.h.
struct ChooseQParamsArgs {
  const float* min_val = nullptr;
  const float* max_val = nullptr;
  std::int64_t count = 0;
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  bool symmetric = false;
  float* scale = nullptr;
  std::int32_t* zero_point = nullptr;
};
void choose_qparams(const ChooseQParamsArgs& args, cudaStream_t stream);

}  // namespace edgeqat::cuda
