// SPDX-License-Identifier: Apache-2.0
// What was built: library version and compiler, for `python -m edgeqat info` and checkpoints.
#pragma once

#include <string>

namespace edgeqat {

// The version as "major.minor.patch"; the same text as the Python package's.
std::string Version();

// The compiler and its version, such as "GNU 12.2.0".
std::string Compiler();

}  // namespace edgeqat
