// SPDX-License-Identifier: Apache-2.0
// Large results in pages of 2 MiB (docs/adr/0014).
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>

namespace edgeqat::torch_ops {

// From here on there is at least one whole page of 2 MiB, wherever the memory begins; NumPy has the
// same limit.
inline constexpr std::int64_t kHugePagesFrom = 4 << 20;

// Asks for `bytes` of memory from `data` in pages of 2 MiB. malloc hands large results back to the
// system, so that the next one takes a page fault every 4 KiB: 50 ms for 128 MiB that are written
// in 8 ms where the memory is there. A request: where the system has no such pages, nothing
// changes.
inline void AdviseHugePages([[maybe_unused]] void* data, [[maybe_unused]] std::int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes < kHugePagesFrom) return;
  constexpr std::uintptr_t kPage = 2 << 20;
  // Only pages that lie inside: the rest of a page at an end belongs to someone else.
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  const std::uintptr_t last = (begin + static_cast<std::uintptr_t>(bytes)) / kPage * kPage;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace edgeqat::torch_ops
