// SPDX-License-Identifier: Apache-2.0
// Splits a range over std::thread: the reference runs outside of torch and has no thread pool to
// borrow.
#pragma once

#include <cstdint>
#include <functional>

namespace edgeqat::reference {

// Calls body(begin, end) over consecutive parts of [0, count), at most `threads` of them, and
// waits. The first exception of a part is thrown again here. One part runs on the calling thread.
void ParallelFor(int threads, std::int64_t count,
                 const std::function<void(std::int64_t, std::int64_t)>& body);

}  // namespace edgeqat::reference
