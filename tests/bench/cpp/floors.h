// SPDX-License-Identifier: Apache-2.0
// What no kernel that reads a tensor and writes one of its size can beat.
#pragma once

#include <cstdint>

namespace edgeqat::bench {

void Relu(const float* x, std::int64_t count, float* y);

// A copy with stores that go around the caches. It is here because it does not pay: see
// docs/adr/0011-no-streaming-stores.md. Both addresses are multiples of 16.
void StreamedCopy(const void* from, std::int64_t bytes, void* to);

}  // namespace edgeqat::bench
