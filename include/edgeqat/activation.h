// SPDX-License-Identifier: Apache-2.0
// Activation functions that the quantizers apply to x before they round it, and their derivatives.
#pragma once

#include <cstdint>

#include "edgeqat/host_device.h"

namespace edgeqat {

// The value is the `activation` argument of the operators.
//
//   kind       f(x)                           f'(x)
//   none       x                              1
//   relu       max(x, 0)                      1 where x > 0, otherwise 0
//   relu6      min(max(x, 0), 6)              1 where 0 < x < 6, otherwise 0
//   hardswish  x * min(max(x + 3, 0), 6) / 6  0 up to -3, x / 3 + 0.5, 1 from 3 on
//
// In float32, each operation rounded once, in this order: bit for bit torch's functions on float32.
// (torch rounds hardswish of a bfloat16 tensor to bfloat16; here the quantizer sees the float32.)
// NaN stays NaN and its derivative is 1, so that the gradient shows it too; torch agrees except for
// relu6, whose vectorised loop blocks it. hardswish of -Inf is NaN, as in torch. The result is
// never -0 for relu and relu6.
enum class ActivationKind : std::uint8_t { kNone = 0, kRelu = 1, kRelu6 = 2, kHardswish = 3 };

inline constexpr int kActivationKinds = 4;

// f(x). The kind is a template argument, because a loop with a switch inside does not vectorise.
template <ActivationKind kKind>
EDGEQAT_FORMULA constexpr float Activate(float x) {
  if constexpr (kKind == ActivationKind::kNone) {
    return x;
  } else if constexpr (kKind == ActivationKind::kHardswish) {
    const float shifted = x + 3.0F;
    const float above = shifted < 0.0F ? 0.0F : shifted;
    const float gate = above > 6.0F ? 6.0F : above;
    return x * gate / 6.0F;
  } else {
    const float above = x <= 0.0F ? 0.0F : x;
    return kKind == ActivationKind::kRelu6 && above >= 6.0F ? 6.0F : above;
  }
}

// f'(x).
template <ActivationKind kKind>
EDGEQAT_FORMULA constexpr float ActivationDerivative(float x) {
  if constexpr (kKind == ActivationKind::kNone) {
    return 1.0F;
  } else if constexpr (kKind == ActivationKind::kHardswish) {
    const float slope = x >= 3.0F || x != x ? 1.0F : x / 3.0F + 0.5F;
    return x <= -3.0F ? 0.0F : slope;
  } else {
    const float above = x <= 0.0F ? 0.0F : 1.0F;
    return kKind == ActivationKind::kRelu6 && x >= 6.0F ? 0.0F : above;
  }
}

// grad * f'(x), +0 where the function is flat, whatever grad is (NaN too).
template <ActivationKind kKind>
EDGEQAT_FORMULA constexpr float ActivationGradient(float grad, float x) {
  if constexpr (kKind == ActivationKind::kNone) {
    return grad;
  } else if constexpr (kKind == ActivationKind::kHardswish) {
    const float product = grad * ActivationDerivative<kKind>(x);
    return x <= -3.0F ? 0.0F : product;
  } else {
    return ActivationDerivative<kKind>(x) == 0.0F ? 0.0F : grad;
  }
}

// Whether one bit tells the derivative: it is 0 or 1 everywhere.
[[nodiscard]] EDGEQAT_FORMULA constexpr bool HasBinaryDerivative(ActivationKind kind) {
  return kind != ActivationKind::kHardswish;
}

// Calls visitor.operator()<kKind>() with the kind as a template argument, on the host.
template <typename Visitor>
EDGEQAT_INLINE constexpr decltype(auto) VisitActivation(ActivationKind kind, Visitor visitor) {
  switch (kind) {
    case ActivationKind::kRelu:
      return visitor.template operator()<ActivationKind::kRelu>();
    case ActivationKind::kRelu6:
      return visitor.template operator()<ActivationKind::kRelu6>();
    case ActivationKind::kHardswish:
      return visitor.template operator()<ActivationKind::kHardswish>();
    default:
      return visitor.template operator()<ActivationKind::kNone>();
  }
}

// The same with the kind as an argument, for one value or where a branch costs nothing.
[[nodiscard]] EDGEQAT_FORMULA constexpr float Activate(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::kRelu:
      return Activate<ActivationKind::kRelu>(x);
    case ActivationKind::kRelu6:
      return Activate<ActivationKind::kRelu6>(x);
    case ActivationKind::kHardswish:
      return Activate<ActivationKind::kHardswish>(x);
    default:
      return x;
  }
}
[[nodiscard]] EDGEQAT_FORMULA constexpr float ActivationDerivative(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::kRelu:
      return ActivationDerivative<ActivationKind::kRelu>(x);
    case ActivationKind::kRelu6:
      return ActivationDerivative<ActivationKind::kRelu6>(x);
    case ActivationKind::kHardswish:
      return ActivationDerivative<ActivationKind::kHardswish>(x);
    default:
      return 1.0F;
  }
}

}  // namespace edgeqat
