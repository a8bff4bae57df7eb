// SPDX-License-Identifier: Apache-2.0
// What the activations of edgeqat/activation.h mean for bits and gradients, for both compilers.
#pragma once

#include "cuda/float_types.h"
#include "cuda/host_device.h"
#include "edgeqat/activation.h"

namespace edgeqat::cuda {

// Whether the bit may be set: hardswish has a derivative that no bit holds, its bits tell the range
// alone.
EDGEQAT_HOST_DEVICE inline bool PassesActivation(ActivationKind kind, float x) {
  return !HasBinaryDerivative(kind) || ActivationDerivative(kind, x) != 0.0f;
}

// grad * hardswish'(x) in float32, rounded once.
template <typename T>
EDGEQAT_HOST_DEVICE T HardswishGradient(T grad, T x) {
  return FromFloat<T>(ActivationGradient<ActivationKind::kHardswish>(ToFloat(grad), ToFloat(x)));
}

}  // namespace edgeqat::cuda
