// SPDX-License-Identifier: Apache-2.0
// What the activations of edgeqat/activation.h mean for bits and gradients, for both compilers.
#pragma once

#include "cuda/float_types.h"
#include "cuda/host_device.h"
#include "edgeqat/activation.h"

namespace edgeqat::cuda {

// The switch outside the loop: inside it would be a branch for each element.
template <ActivationKind kKind, int kCount>
EDGEQAT_HOST_DEVICE inline unsigned ActivateEach(float (&x)[kCount]) {
  unsigned passes = 0;
  for (int k = 0; k < kCount; ++k) {
    const bool pass = !HasBinaryDerivative(kKind) || ActivationDerivative<kKind>(x[k]) != 0.0f;
    passes |= static_cast<unsigned>(pass) << k;
    x[k] = Activate<kKind>(x[k]);
  }
  return passes;
}

// Activates values in place. Bit k of the result: whether the bit of value k may be set. hardswish
// has a derivative that no bit holds, its bits tell the range alone.
template <int kCount>
EDGEQAT_HOST_DEVICE inline unsigned ActivateAll(ActivationKind kind, float (&x)[kCount]) {
  switch (kind) {
    case ActivationKind::kRelu:
      return ActivateEach<ActivationKind::kRelu>(x);
    case ActivationKind::kRelu6:
      return ActivateEach<ActivationKind::kRelu6>(x);
    case ActivationKind::kHardswish:
      return ActivateEach<ActivationKind::kHardswish>(x);
    default:
      return (1u << kCount) - 1u;
  }
}

// grad * hardswish'(x) in float32, rounded once.
template <typename T>
EDGEQAT_HOST_DEVICE T HardswishGradient(T grad, T x) {
  return FromFloat<T>(ActivationGradient<ActivationKind::kHardswish>(ToFloat(grad), ToFloat(x)));
}

}  // namespace edgeqat::cuda
