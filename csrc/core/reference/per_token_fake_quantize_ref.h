// SPDX-License-Identifier: Apache-2.0
// Scalar oracle of per_token_fake_quantize.
#pragma once

#include "edgeqat/per_token_fake_quantize.h"

namespace edgeqat::reference {

void per_token_fake_quantize_ref(const PerTokenFakeQuantizeArgs& args);

}  // namespace edgeqat::reference
