// SPDX-License-Identifier: Apache-2.0
// CRC-32C against a bit-by-bit division, known values, and the portable form.
#include "core/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace edgeqat::internal {
namespace {

std::uint32_t BitByBit(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const std::byte byte : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const std::uint32_t out = (crc ^ (std::to_integer<std::uint32_t>(byte) >> bit)) & 1;
      crc = (crc >> 1) ^ (out ? 0x82F63B78U : 0U);
    }
  }
  return ~crc;
}

std::vector<std::byte> Random(std::size_t size) {
  std::mt19937 generator(7);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator());
  return bytes;
}

// The values of RFC 3720, B.4, and the usual check value.
TEST(Crc32c, KnownValues) {
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(Crc32c(std::vector<std::byte>(32, std::byte{0x00})), 0x8A9136AAU);
  EXPECT_EQ(Crc32c(std::vector<std::byte>(32, std::byte{0xFF})), 0x62A8AB43U);
  EXPECT_EQ(Crc32c(""), 0U);
  EXPECT_EQ(Crc32cText(0xABC), "00000abc");
}

// 12,288 bytes are one round of the three chains.
TEST(Crc32c, EveryFormAgrees) {
  const std::vector<std::byte> bytes = Random(40'000);
  for (const std::size_t size :
       {0, 1, 7, 8, 9, 63, 4096, 12'287, 12'288, 12'289, 24'575, 24'576, 36'900, 39'000}) {
    for (const std::size_t start : {0, 1, 3}) {
      const auto part = std::span(bytes).subspan(start, size);
      const std::uint32_t expected = BitByBit(part);
      EXPECT_EQ(Crc32c(part), expected) << size << " from " << start;
      EXPECT_EQ(Crc32cPortable(part), expected) << size << " from " << start;
    }
  }
}

TEST(Crc32c, Appends) {
  const std::vector<std::byte> bytes = Random(30'000);
  for (const std::size_t cut : {0, 1, 100, 12'288, 29'999}) {
    const std::uint32_t first = Crc32c(std::span(bytes).first(cut));
    EXPECT_EQ(Crc32c(std::span(bytes).subspan(cut), first), Crc32c(bytes));
    EXPECT_EQ(Crc32cPortable(std::span(bytes).subspan(cut), first), Crc32c(bytes));
  }
}

}  // namespace
}  // namespace edgeqat::internal
