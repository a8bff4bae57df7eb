// SPDX-License-Identifier: Apache-2.0
// Scalar oracle of observe_fake_quantize.
#pragma once

#include "edgeqat/observe_fake_quantize.h"

namespace edgeqat::reference {

std::int64_t observe_fake_quantize_ref(const ObserveFakeQuantizeArgs& args);

}  // namespace edgeqat::reference
