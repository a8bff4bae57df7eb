// SPDX-License-Identifier: Apache-2.0
// How a caller lends its thread pool to the kernels; the library itself starts no threads.
#pragma once

#include <cstdint>
#include <functional>

namespace edgeqat {

// Runs body(begin, end) over disjoint pieces that cover [0, count), on any threads, and returns
// when all are done. An empty function means: run on the calling thread.
//
//   edgeqat::ParallelFor pool = [](std::int64_t count, const edgeqat::RangeBody& body) {
//     at::parallel_for(0, count, 1, body);
//   };
//
// The kernels hand out pieces of fixed size, so results do not depend on the number of threads.
using RangeBody = std::function<void(std::int64_t begin, std::int64_t end)>;
using ParallelFor = std::function<void(std::int64_t count, const RangeBody& body)>;

}  // namespace edgeqat
