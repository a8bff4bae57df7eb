// SPDX-License-Identifier: Apache-2.0
// The running state of a minimum/maximum observer.
#include "edgeqat/observer.h"

#include <algorithm>
#include <limits>

namespace edgeqat {

void UpdateMinmax(const float* batch_min, const float* batch_max, std::int64_t count,
                  float averaging, float* state_min, float* state_max) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::int64_t c = 0; c < count; ++c) {
    if (batch_min[c] > batch_max[c]) continue;  // no finite value in this batch
    const bool first = state_min[c] == kInfinity && state_max[c] == -kInfinity;
    if (averaging >= 0.0F && !first) {
      state_min[c] += averaging * (batch_min[c] - state_min[c]);
      state_max[c] += averaging * (batch_max[c] - state_max[c]);
    } else {
      state_min[c] = std::min(state_min[c], batch_min[c]);
      state_max[c] = std::max(state_max[c], batch_max[c]);
    }
  }
}

}  // namespace edgeqat
