// SPDX-License-Identifier: Apache-2.0
// One flag byte per element to one bit per element and back, eight at a time by one multiplication.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/target.h"

namespace edgeqat::cpu {

// flags[0..8) of 0 or 1 -> bit j = flags[j]. Flag j stands at bit 8j; the multiplier has bits 56 -
// 7k, so flag j lands on bit 56 + j for k = j, and all 64 products fall on different bits: no
// carries.
EDGEQAT_ALWAYS_INLINE std::uint8_t PackByte(const std::uint8_t* flags) {
  std::uint64_t word;
  std::memcpy(&word, flags, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return static_cast<std::uint8_t>((word * 0x0102040810204080ULL) >> 56);
}

// bits of `byte` -> flags[0..8) of 0 or 1: copy the byte eight times, keep bit j in copy j, and
// carry it to the top.
EDGEQAT_ALWAYS_INLINE void UnpackByte(std::uint8_t byte, std::uint8_t* flags) {
  const std::uint64_t kept = (byte * 0x0101010101010101ULL) & 0x8040201008040201ULL;
  // kept copy j is 0 or 2^j; adding 0x7F carries into bit 7 of the copy for every non-zero 2^j
  // except 2^7, which is there already; neither sum leaves its byte (0x80 + 0x7F = 0xFF).
  std::uint64_t word = ((kept + 0x7F7F7F7F7F7F7F7FULL) >> 7) & 0x0101010101010101ULL;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  std::memcpy(flags, &word, sizeof(word));
}

}  // namespace edgeqat::cpu
