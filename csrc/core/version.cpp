// SPDX-License-Identifier: Apache-2.0
// The version and compiler recorded at build time.
#include "edgeqat/version.h"

namespace edgeqat {

std::string Version() { return EDGEQAT_VERSION; }

std::string Compiler() { return EDGEQAT_COMPILER; }

}  // namespace edgeqat
