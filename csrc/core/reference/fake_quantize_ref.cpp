// SPDX-License-Identifier: Apache-2.0
// The numerics contract as it reads, without any of the kernels' tricks: libm rounding, integer
// codes.
#include "core/reference/fake_quantize_ref.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/reference/float16_ref.h"

namespace edgeqat::reference {
namespace {

struct Code {
  bool nan = false;
  bool in_range = true;
  std::int32_t value = 0;
};

Code CodeOf(float x, float scale, std::int32_t zero_point, std::int32_t qmin, std::int32_t qmax) {
  const float quotient = x / scale;
  if (std::isnan(quotient)) return {.nan = true, .in_range = true, .value = zero_point};
  const double code = std::nearbyint(static_cast<double>(quotient)) + zero_point;
  const bool in_range = code >= qmin && code <= qmax;
  const double clamped = std::clamp<double>(code, qmin, qmax);
  return {.nan = false, .in_range = in_range, .value = static_cast<std::int32_t>(clamped)};
}

}  // namespace

void fake_quantize_ref(const FakeQuantizeArgs& args) {
  const std::int64_t count = args.layout.numel();
  if (args.bits != nullptr) std::memset(args.bits, 0, static_cast<std::size_t>((count + 7) / 8));
  for (std::int64_t e = 0; e < count; ++e) {
    const std::int64_t s = args.layout.index(e);
    const float x = LoadFloat(args.x, args.dtype, e);
    const float a = Activate(args.activation, x);
    const Code code = CodeOf(a, args.scale[s], args.zero_point[s], args.qmin, args.qmax);
    const bool passes =
        !HasBinaryDerivative(args.activation) || ActivationDerivative(args.activation, x) != 0.0F;
    const bool pruned = args.mask != nullptr && args.mask[e] == 0;
    float y = static_cast<float>(code.value - args.zero_point[s]) * args.scale[s];
    if (code.nan) y = a;
    if (pruned) y = 0.0F;
    StoreFloat(y, args.dtype, e, args.y);
    if (args.bits != nullptr && code.in_range && passes && !pruned) {
      args.bits[e / 8] = static_cast<std::uint8_t>(args.bits[e / 8] | (1U << (e % 8)));
    }
  }
}

void fake_quantize_backward_ref(const FakeQuantizeBackwardArgs& args) {
  const std::int64_t size = SizeOf(args.dtype);
  for (std::int64_t e = 0; e < args.numel; ++e) {
    const auto* const from = static_cast<const char*>(args.grad) + e * size;
    auto* const to = static_cast<char*>(args.grad_x) + e * size;
    const bool in_range = ((args.bits[e / 8] >> (e % 8)) & 1) != 0;
    if (!in_range) {
      std::memset(to, 0, static_cast<std::size_t>(size));
    } else if (args.activation == ActivationKind::kNone) {
      std::memcpy(to, from, static_cast<std::size_t>(size));
    } else {
      const float x = LoadFloat(args.x, args.dtype, e);
      const float product =
          LoadFloat(args.grad, args.dtype, e) * ActivationDerivative(args.activation, x);
      StoreFloat(x <= -3.0F ? 0.0F : product, args.dtype, e, args.grad_x);
    }
  }
}

void quantize_ref(const QuantizeArgs& args) {
  for (std::int64_t e = 0; e < args.layout.numel(); ++e) {
    const std::int64_t s = args.layout.index(e);
    const float x = LoadFloat(args.x, args.dtype, e);
    const Code code = CodeOf(x, args.scale[s], args.zero_point[s], args.qmin, args.qmax);
    if (args.qmin < 0) {
      static_cast<std::int8_t*>(args.codes)[e] = static_cast<std::int8_t>(code.value);
    } else {
      static_cast<std::uint8_t*>(args.codes)[e] = static_cast<std::uint8_t>(code.value);
    }
  }
}

void dequantize_ref(const DequantizeArgs& args) {
  for (std::int64_t e = 0; e < args.layout.numel(); ++e) {
    const std::int64_t s = args.layout.index(e);
    const std::int32_t code = args.is_signed ? static_cast<const std::int8_t*>(args.codes)[e]
                                             : static_cast<const std::uint8_t*>(args.codes)[e];
    args.y[e] = static_cast<float>(code - args.zero_point[s]) * args.scale[s];
  }
}

}  // namespace edgeqat::reference
