// SPDX-License-Identifier: Apache-2.0
// ReLU and the copy around the caches, compiled apart so that no loop around them is optimised
// away.
#include "floors.h"

#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace edgeqat::bench {

void Relu(const float* x, std::int64_t count, float* y) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = x[i] <= 0.0F ? 0.0F : x[i];
}

void StreamedCopy(const void* from, std::int64_t bytes, void* to) {
#if defined(__x86_64__)
  const auto* const source = static_cast<const __m128i*>(from);
  auto* const target = static_cast<__m128i*>(to);
  for (std::int64_t i = 0; i < bytes / 16; ++i) {
    _mm_stream_si128(target + i, _mm_load_si128(source + i));
  }
  _mm_sfence();
#else
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
#endif
}

}  // namespace edgeqat::bench
