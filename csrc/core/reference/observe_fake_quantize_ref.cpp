// SPDX-License-Identifier: Apache-2.0
// The activated values as a float32 tensor of their own, then the two oracles one after the other.
#include "core/reference/observe_fake_quantize_ref.h"

#include <vector>

#include "core/reference/fake_quantize_ref.h"
#include "core/reference/float16_ref.h"
#include "core/reference/observer_ref.h"

namespace edgeqat::reference {

std::int64_t observe_fake_quantize_ref(const ObserveFakeQuantizeArgs& args) {
  const FakeQuantizeArgs& quantize = args.quantize;
  std::vector<float> activated(static_cast<std::size_t>(quantize.layout.numel()));
  for (std::int64_t e = 0; e < quantize.layout.numel(); ++e) {
    activated[static_cast<std::size_t>(e)] =
        Activate(quantize.activation, LoadFloat(quantize.x, quantize.dtype, e));
  }
  const std::int64_t non_finite = observe_minmax_ref({.dtype = FloatType::kFloat32,
                                                      .layout = quantize.layout,
                                                      .x = activated.data(),
                                                      .mask = quantize.mask,
                                                      .min = args.min,
                                                      .max = args.max});
  fake_quantize_ref(quantize);
  return non_finite;
}

}  // namespace edgeqat::reference
