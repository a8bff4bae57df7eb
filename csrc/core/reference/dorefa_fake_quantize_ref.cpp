// SPDX-License-Identifier: Apache-2.0
// DoReFa weights and their gradient with libm's tanh in double.
#include "core/reference/dorefa_fake_quantize_ref.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "core/reference/float16_ref.h"

namespace edgeqat::reference {
namespace {

// tanh(max |x|) of every scale, 1 for a scale of zeros.
std::vector<double> Divisors(FloatType dtype, const QuantLayout& layout, const void* x,
                             const std::uint8_t* mask) {
  std::vector<double> result(static_cast<std::size_t>(layout.num_scales()), 0.0);
  for (std::int64_t e = 0; e < layout.numel(); ++e) {
    const float value = LoadFloat(x, dtype, e);
    if (!std::isfinite(value) || (mask != nullptr && mask[e] == 0)) continue;
    double& most = result[static_cast<std::size_t>(layout.index(e))];
    most = std::max(most, std::abs(static_cast<double>(value)));
  }
  for (double& most : result) {
    most = std::tanh(most);
    if (most < std::numeric_limits<float>::min()) most = 1.0;
  }
  return result;
}

}  // namespace

void dorefa_fake_quantize_ref(const DorefaFakeQuantizeArgs& args, double* position) {
  const std::vector<double> divisor = Divisors(args.dtype, args.layout, args.x, args.mask);
  const float step = 1.0F / static_cast<float>(args.qmax);
  for (std::int64_t e = 0; e < args.layout.numel(); ++e) {
    const double x = LoadFloat(args.x, args.dtype, e);
    const double t = std::tanh(x) / divisor[static_cast<std::size_t>(args.layout.index(e))];
    if (position != nullptr) position[e] = t / static_cast<double>(step);
    const double code =
        std::clamp<double>(std::nearbyint(t / static_cast<double>(step)), args.qmin, args.qmax);
    float y = static_cast<float>(code) * step + 0.0F;  // no -0
    if (std::isnan(x)) y = std::numeric_limits<float>::quiet_NaN();
    if (args.mask != nullptr && args.mask[e] == 0) y = 0.0F;
    StoreFloat(y, args.dtype, e, args.y);
  }
}

void dorefa_fake_quantize_backward_ref(const DorefaFakeQuantizeBackwardArgs& args) {
  const std::vector<double> divisor = Divisors(args.dtype, args.layout, args.x, args.mask);
  for (std::int64_t e = 0; e < args.layout.numel(); ++e) {
    const double grad = LoadFloat(args.grad, args.dtype, e);
    const double cosine = std::cosh(static_cast<double>(LoadFloat(args.x, args.dtype, e)));
    const double derivative =
        1.0 / (cosine * cosine) / divisor[static_cast<std::size_t>(args.layout.index(e))];
    const bool pruned = args.mask != nullptr && args.mask[e] == 0;
    const double grad_x = pruned ? 0.0 : grad * derivative;
    StoreFloat(static_cast<float>(grad_x), args.dtype, e, args.grad_x);
  }
}

}  // namespace edgeqat::reference
