// SPDX-License-Identifier: Apache-2.0
// Sum, count and maximum of |x| for every scale on the CPU; the order of the sums is that of
// core/magnitude.h.
#pragma once

#include <vector>

#include "core/magnitude.h"
#include "edgeqat/parallel.h"

namespace edgeqat::cpu {

// One result for each of layout.num_scales().
std::vector<MagnitudeSums> ReduceMagnitudes(const MagnitudeArgs& args, const ParallelFor& pool);

}  // namespace edgeqat::cpu
