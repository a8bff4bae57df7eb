// SPDX-License-Identifier: Apache-2.0
// How many blocks a launch gets, and how elements are cut into chunks of one thread's work.
#pragma once

#include <cstdint>

#include "cuda/host_device.h"

namespace edgeqat::cuda {

// 256 threads: 8 warps hide the memory latency, and every architecture from sm_75 on can hold a
// whole number of such blocks.
inline constexpr int kBlockThreads = 256;

// Eight elements a thread: one byte of range bits, and 16 to 32 bytes of values, which are whole
// 16-byte memory transactions.
inline constexpr std::int64_t kChunk = 8;

// A multiprocessor holds 2048 threads at most: eight blocks. For kernels in which every block
// leaves a result.
inline constexpr int kBlocksPerMultiprocessor = 8;

// For kernels in which blocks leave nothing behind. Their 40 to 60 registers a thread let 4 to 6
// blocks run at a time (ptxas -v, sm_90). Eight would be one full turn and a second that leaves up
// to half of the multiprocessor empty; of 32 that is the last of six to eight turns.
inline constexpr int kQueuedBlocksPerMultiprocessor = 32;

// ceil(a / b) for a >= 0, b >= 1, without the overflow of a + b - 1.
EDGEQAT_HOST_DEVICE constexpr std::int64_t CeilDivide(std::int64_t a, std::int64_t b) {
  return a / b + (a % b != 0);
}

// Blocks of a grid-stride launch over `items` threads' worth of work; 0 means nothing to launch.
constexpr int GridBlocks(std::int64_t items, int multiprocessors,
                         int per_multiprocessor = kBlocksPerMultiprocessor) {
  const std::int64_t wanted = CeilDivide(items, kBlockThreads);
  const std::int64_t most =
      static_cast<std::int64_t>(multiprocessors < 1 ? 1 : multiprocessors) * per_multiprocessor;
  return static_cast<int>(wanted < most ? wanted : most);
}

// Blocks of an element-wise launch over n elements, a chunk for each thread.
constexpr int ElementBlocks(std::int64_t n, int multiprocessors) {
  return GridBlocks(CeilDivide(n, kChunk), multiprocessors, kQueuedBlocksPerMultiprocessor);
}

// Elements of the chunk that starts at `first` < n.
EDGEQAT_HOST_DEVICE constexpr int ChunkCount(std::int64_t first, std::int64_t n,
                                             std::int64_t chunk = kChunk) {
  return static_cast<int>(n - first < chunk ? n - first : chunk);
}

// Whether every pointer allows `bytes`-wide vector access (bytes a power of two). Null does.
template <typename... Pointers>
bool AreAligned(std::uintptr_t bytes, const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % bytes == 0) && ...);
}

}  // namespace edgeqat::cuda
