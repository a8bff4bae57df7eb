// SPDX-License-Identifier: Apache-2.0
// The one place that knows how 2, 4 and 8 bit codes lie in bytes: layout "lsb-first-v1".
#pragma once

#include <cstdint>
#include <string_view>

namespace edgeqat {

// Values are flattened row-major; the first value of a byte takes its lowest bits (the ONNX order).
// Signed codes are two's complement in `bits` bits. The spare high bits of the last byte are 0.
//   4 bits: {1, -2, 7}    -> {0xE1, 0x07}
//   2 bits: {0, 1, 2, 3}  -> {0xE4}
inline constexpr std::string_view kPackedLayout = "lsb-first-v1";

// ceil(count * bits / 8). Errors: kInvalidArgument if bits is not 2, 4 or 8 or count < 0.
[[nodiscard]] std::int64_t PackedBytes(std::int64_t count, int bits);

// Codes of one byte each (int8 if is_signed, otherwise uint8) to PackedBytes(count, bits) bytes.
// Errors: kInvalidArgument if a code does not fit in `bits` bits, naming the first such position.
void pack(const void* codes, bool is_signed, std::int64_t count, int bits, std::uint8_t* packed);

// The inverse: `count` codes of one byte each, sign-extended if is_signed.
void unpack(const std::uint8_t* packed, std::int64_t count, int bits, bool is_signed, void* codes);

}  // namespace edgeqat
