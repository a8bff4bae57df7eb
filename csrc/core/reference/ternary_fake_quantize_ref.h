// SPDX-License-Identifier: Apache-2.0
// Scalar oracle of ternary_fake_quantize.
#pragma once

#include "edgeqat/ternary_fake_quantize.h"

namespace edgeqat::reference {

void ternary_fake_quantize_ref(const TernaryFakeQuantizeArgs& args);

}  // namespace edgeqat::reference
