// SPDX-License-Identifier: Apache-2.0
// Ternary weights with sums in long double, whose order does not show in a float32.
#include "core/reference/ternary_fake_quantize_ref.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "core/reference/float16_ref.h"

namespace edgeqat::reference {
namespace {

struct Mean {
  long double sum = 0.0L;
  std::int64_t count = 0;

  void Add(float value) {
    sum += std::abs(value);
    ++count;
  }
  [[nodiscard]] double Value() const {
    return count == 0 ? 0.0 : static_cast<double>(sum / static_cast<long double>(count));
  }
};

bool Counts(const TernaryFakeQuantizeArgs& args, std::int64_t e, float x) {
  return std::isfinite(x) && (args.mask == nullptr || args.mask[e] != 0);
}

}  // namespace

void ternary_fake_quantize_ref(const TernaryFakeQuantizeArgs& args) {
  const auto scales = static_cast<std::size_t>(args.layout.num_scales());
  const std::int64_t count = args.layout.numel();
  std::vector<Mean> all(scales), above(scales);
  std::vector<float> threshold(scales);
  const auto x = [&](std::int64_t e) { return LoadFloat(args.x, args.dtype, e); };
  const auto scale_of = [&](std::int64_t e) {
    return static_cast<std::size_t>(args.layout.index(e));
  };
  for (std::int64_t e = 0; e < count; ++e) {
    if (Counts(args, e, x(e))) all[scale_of(e)].Add(x(e));
  }
  for (std::size_t s = 0; s < scales; ++s) {
    threshold[s] = static_cast<float>(0.7 * all[s].Value());
  }
  for (std::int64_t e = 0; e < count; ++e) {
    const std::size_t s = scale_of(e);
    if (Counts(args, e, x(e)) && std::abs(x(e)) > threshold[s]) above[s].Add(x(e));
  }
  for (std::size_t s = 0; s < scales; ++s) {
    args.scale[s] = static_cast<float>(above[s].Value());
    if (args.scale[s] >= std::numeric_limits<float>::min()) continue;
    args.scale[s] = 1.0F;
    threshold[s] = std::numeric_limits<float>::infinity();
  }
  for (std::int64_t e = 0; e < count; ++e) {
    const std::size_t s = scale_of(e);
    const float value = x(e);
    float y = 0.0F;
    if (value > threshold[s]) y = args.scale[s];
    if (value < -threshold[s]) y = -args.scale[s];
    if (std::isnan(value)) y = value;
    if (args.mask != nullptr && args.mask[e] == 0) y = 0.0F;
    StoreFloat(y, args.dtype, e, args.y);
  }
}

}  // namespace edgeqat::reference
