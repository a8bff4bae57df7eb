// SPDX-License-Identifier: Apache-2.0
// Dynamic fake quantization of activations: every token (row of the last axis) has its own scale,
// from its own range.
#pragma once

#include <cstdint>

#include "edgeqat/parallel.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat {

// For every row of `width` consecutive elements, in float32:
//
//   min, max           the smallest and the largest finite value of the row
//   scale, zero_point  ChooseQParams(min, max, qmin, qmax, symmetric)      (edgeqat/qparams.h)
//   y                  fake_quantize(x, scale, zero_point, qmin, qmax) (edgeqat/fake_quantize.h)
//
// A row is read from memory once: its second reading finds it in a cache. A row without finite or
// nonzero values has scale 1. NaN stays NaN and infinities saturate, without a say in the range.
// Pointers: x and y are dense, row after row, y may be x. Preconditions, not checked here (the op
// checks them): those of fake_quantize.
struct PerTokenFakeQuantizeArgs {
  FloatType dtype = FloatType::kFloat32;
  std::int64_t rows = 0;
  std::int64_t width = 1;
  const void* x = nullptr;
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  bool symmetric = true;
  void* y = nullptr;
};
void per_token_fake_quantize(const PerTokenFakeQuantizeArgs& args, const ParallelFor& pool = {});

}  // namespace edgeqat
