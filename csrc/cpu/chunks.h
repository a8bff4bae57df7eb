// SPDX-License-Identifier: Apache-2.0
// Cuts a flat tensor into chunks of fixed size for the caller's thread pool.
#pragma once

#include <algorithm>
#include <cstdint>

#include "edgeqat/parallel.h"

namespace edgeqat::cpu {

// A multiple of the block (512), so every chunk starts on a byte of bits. 32768 float32 take about
// 4 us to 9 us: long enough to pay for a hand-over to another thread, short enough to keep many
// threads busy.
inline constexpr std::int64_t kChunk = 32768;

// Calls body(begin, end) for every chunk. The cut depends on the size alone, never on the number of
// threads.
template <typename Body>
void ForChunks(std::int64_t numel, const ParallelFor& pool, const Body& body) {
  if (numel <= 0) return;
  const auto run = [&](std::int64_t first, std::int64_t last) {
    body(first * kChunk, std::min(numel, last * kChunk));
  };
  const std::int64_t chunks = (numel + kChunk - 1) / kChunk;
  if (chunks == 1 || !pool) {
    run(0, chunks);
  } else {
    pool(chunks, run);
  }
}

}  // namespace edgeqat::cpu
