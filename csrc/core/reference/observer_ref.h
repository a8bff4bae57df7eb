// SPDX-License-Identifier: Apache-2.0
// Scalar oracle of observe_minmax.
#pragma once

#include "edgeqat/observer.h"

namespace edgeqat::reference {

std::int64_t observe_minmax_ref(const ObserveMinmaxArgs& args);

}  // namespace edgeqat::reference
