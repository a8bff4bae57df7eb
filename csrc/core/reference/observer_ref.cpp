// SPDX-License-Identifier: Apache-2.0
// Minimum and maximum of the finite values, one element at a time.
#include "core/reference/observer_ref.h"

#include <cmath>
#include <limits>

#include "core/reference/float16_ref.h"

namespace edgeqat::reference {

std::int64_t observe_minmax_ref(const ObserveMinmaxArgs& args) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::int64_t s = 0; s < args.layout.num_scales(); ++s) {
    args.min[s] = kInfinity;
    args.max[s] = -kInfinity;
  }
  std::int64_t non_finite = 0;
  for (std::int64_t e = 0; e < args.layout.numel(); ++e) {
    if (args.mask != nullptr && args.mask[e] == 0) continue;
    float x = LoadFloat(args.x, args.dtype, e);
    if (!std::isfinite(x)) {
      ++non_finite;
      continue;
    }
    if (x == 0.0F) x = 0.0F;  // -0 counts as +0
    const std::int64_t s = args.layout.index(e);
    if (x < args.min[s]) args.min[s] = x;
    if (x > args.max[s]) args.max[s] = x;
  }
  return non_finite;
}

}  // namespace edgeqat::reference
