// SPDX-License-Identifier: Apache-2.0
// One row after the other through the oracles of the observer and of fake_quantize.
#include "core/reference/per_token_fake_quantize_ref.h"

#include "core/reference/fake_quantize_ref.h"
#include "core/reference/observer_ref.h"
#include "edgeqat/qparams.h"

namespace edgeqat::reference {

void per_token_fake_quantize_ref(const PerTokenFakeQuantizeArgs& args) {
  const std::int64_t bytes = args.width * SizeOf(args.dtype);
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const void* const x = static_cast<const char*>(args.x) + row * bytes;
    float min = 0.0F;
    float max = 0.0F;
    static_cast<void>(observe_minmax_ref({.dtype = args.dtype,
                                          .layout = QuantLayout::PerTensor(args.width),
                                          .x = x,
                                          .min = &min,
                                          .max = &max}));
    const QParams qparams = ChooseQParams(min, max, args.qmin, args.qmax, args.symmetric);
    FakeQuantizeArgs quantize;
    quantize.dtype = args.dtype;
    quantize.layout = QuantLayout::PerTensor(args.width);
    quantize.x = x;
    quantize.scale = &qparams.scale;
    quantize.zero_point = &qparams.zero_point;
    quantize.qmin = args.qmin;
    quantize.qmax = args.qmax;
    quantize.y = static_cast<char*>(args.y) + row * bytes;
    fake_quantize_ref(quantize);
  }
}

}  // namespace edgeqat::reference
