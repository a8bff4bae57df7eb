// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli), the checksum of checkpoints: finds every single flipped bit and every burst
// of up to 32 bits, at the speed of memory where the processor has the instruction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace edgeqat::internal {

// The checksum of `bytes` appended to what gave `crc` (0 at the start):
// Crc32c(b, Crc32c(a)) == Crc32c(a + b). Crc32c("123456789") == 0xE3069283.
[[nodiscard]] std::uint32_t Crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);
[[nodiscard]] std::uint32_t Crc32c(std::string_view text, std::uint32_t crc = 0);

// The portable form of the same function; public for the test that compares them.
[[nodiscard]] std::uint32_t Crc32cPortable(std::span<const std::byte> bytes, std::uint32_t crc = 0);

// Eight lower-case hexadecimal digits.
[[nodiscard]] std::string Crc32cText(std::uint32_t crc);

}  // namespace edgeqat::internal
