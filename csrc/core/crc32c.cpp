// SPDX-License-Identifier: Apache-2.0
// CRC-32C by table (8 bytes a step) and by the SSE4.2 instruction (three streams at once).
#include "core/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace edgeqat::internal {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // bits reversed

using Table = std::array<std::array<std::uint32_t, 256>, 8>;

// table[k][b]: the checksum of byte b followed by k zero bytes.
constexpr Table MakeTable() {
  Table table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    table[0][byte] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      table[k][byte] = (table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 0xFF];
    }
  }
  return table;
}

constexpr Table kTable = MakeTable();

std::uint64_t LoadLittle(const std::byte* bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes, sizeof(value));
  if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap64(value);
  return value;
}

#if defined(__x86_64__)

// The crc32 instruction takes 3 cycles but one can start in each: a single chain of them reaches
// 8 bytes per 3 cycles, three chains reach 8 per cycle. Their results are joined by advancing the
// earlier ones over the length of the later ones.
constexpr std::size_t kStream = 4096;  // bytes per chain and round

using Advance = std::array<std::array<std::uint32_t, 256>, 4>;

// advance[k][b]: the register whose byte k is b, after kStream zero bytes.
Advance MakeAdvance() {
  Advance advance{};
  for (std::size_t bit = 0; bit < 32; ++bit) {
    std::uint32_t crc = std::uint32_t{1} << bit;
    for (std::size_t i = 0; i < kStream; ++i) crc = (crc >> 8) ^ kTable[0][crc & 0xFF];
    for (std::uint32_t byte = 0; byte < 256; ++byte) {  // linear over GF(2): sum over the bits
      if ((byte >> (bit % 8)) & 1) advance[bit / 8][byte] ^= crc;
    }
  }
  return advance;
}

std::uint32_t OverStream(const Advance& advance, std::uint64_t crc) {
  return advance[0][crc & 0xFF] ^ advance[1][(crc >> 8) & 0xFF] ^ advance[2][(crc >> 16) & 0xFF] ^
         advance[3][(crc >> 24) & 0xFF];
}

[[gnu::target("sse4.2")]] std::uint32_t Crc32cSse42(std::span<const std::byte> bytes,
                                                    std::uint32_t crc) {
  static const Advance advance = MakeAdvance();
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t a = crc ^ 0xFFFFFFFFu;
  for (; left >= 3 * kStream; left -= 3 * kStream, at += 3 * kStream) {
    std::uint64_t b = 0;
    std::uint64_t c = 0;
    for (std::size_t i = 0; i < kStream; i += 8) {
      a = _mm_crc32_u64(a, LoadLittle(at + i));
      b = _mm_crc32_u64(b, LoadLittle(at + kStream + i));
      c = _mm_crc32_u64(c, LoadLittle(at + 2 * kStream + i));
    }
    a = OverStream(advance, OverStream(advance, a) ^ b) ^ c;
  }
  for (; left >= 8; left -= 8, at += 8) a = _mm_crc32_u64(a, LoadLittle(at));
  auto tail = static_cast<std::uint32_t>(a);
  for (; left > 0; --left, ++at) tail = _mm_crc32_u8(tail, std::to_integer<unsigned char>(*at));
  return tail ^ 0xFFFFFFFFu;
}

#endif

}  // namespace

std::uint32_t Crc32cPortable(std::span<const std::byte> bytes, std::uint32_t crc) {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  crc ^= 0xFFFFFFFFu;
  for (; left >= 8; left -= 8, at += 8) {
    const std::uint64_t x = LoadLittle(at) ^ crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= kTable[7 - k][(x >> (8 * k)) & 0xFF];
  }
  for (; left > 0; --left, ++at) {
    crc = (crc >> 8) ^ kTable[0][(crc ^ std::to_integer<std::uint32_t>(*at)) & 0xFF];
  }
  return crc ^ 0xFFFFFFFFu;
}

std::uint32_t Crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return Crc32cSse42(bytes, crc);
#endif
  return Crc32cPortable(bytes, crc);
}

std::uint32_t Crc32c(std::string_view text, std::uint32_t crc) {
  return Crc32c(std::as_bytes(std::span(text)), crc);
}

std::string Crc32cText(std::uint32_t crc) { return absl::StrCat(absl::Hex(crc, absl::kZeroPad8)); }

}  // namespace edgeqat::internal
