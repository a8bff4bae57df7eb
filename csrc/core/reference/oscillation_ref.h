// SPDX-License-Identifier: Apache-2.0
// Scalar oracle of oscillation_update.
#pragma once

#include "edgeqat/oscillation.h"

namespace edgeqat::reference {

void oscillation_update_ref(const OscillationUpdateArgs& args);

}  // namespace edgeqat::reference
