// SPDX-License-Identifier: Apache-2.0
// Packs 2, 4 and 8 bit codes into bytes and back; plain loops that the compiler vectorises.
#include "edgeqat/packing.h"

#include <cstring>
#include <string>

#include "edgeqat/error.h"

namespace edgeqat {
namespace {

void CheckBits(int bits) {
  if (bits == 2 || bits == 4 || bits == 8) return;
  throw Error(ErrorCode::kInvalidArgument,
              "packing: bits must be 2, 4 or 8, found " + std::to_string(bits) +
                  ". Store 3-bit codes in 4 bits, 5 to 7-bit codes in 8.");
}

template <typename Code>
void CheckCodes(const Code* codes, std::int64_t count, int bits) {
  if (bits == 8) return;
  const int low = static_cast<Code>(-1) < 0 ? -(1 << (bits - 1)) : 0;
  const int high = low + (1 << bits) - 1;
  bool good = true;
  for (std::int64_t i = 0; i < count; ++i) good &= codes[i] >= low && codes[i] <= high;
  if (good) return;
  for (std::int64_t i = 0; i < count; ++i) {
    const int code = codes[i];
    if (code >= low && code <= high) continue;
    throw Error(ErrorCode::kInvalidArgument,
                "pack: codes must be in [" + std::to_string(low) + ", " + std::to_string(high) +
                    "] for " + std::to_string(bits) + " bits, found " + std::to_string(code) +
                    " at position " + std::to_string(i) +
                    ". Quantize with that qmin, qmax or pack with more bits.");
  }
}

template <int kBits>
void PackTo(const std::uint8_t* codes, std::int64_t count, std::uint8_t* packed) {
  constexpr int kPerByte = 8 / kBits;
  constexpr unsigned kMask = (1U << kBits) - 1U;
  const std::int64_t full = count / kPerByte;
  for (std::int64_t i = 0; i < full; ++i) {
    unsigned byte = 0;
    for (int j = 0; j < kPerByte; ++j) byte |= (codes[i * kPerByte + j] & kMask) << (j * kBits);
    packed[i] = static_cast<std::uint8_t>(byte);
  }
  if (full * kPerByte == count) return;
  unsigned byte = 0;
  for (std::int64_t i = full * kPerByte; i < count; ++i) {
    byte |= (codes[i] & kMask) << ((i - full * kPerByte) * kBits);
  }
  packed[full] = static_cast<std::uint8_t>(byte);
}

// (v ^ s) - s with s = 2^(bits-1) extends the sign of a `bits`-bit value; s = 0 leaves it unsigned.
template <int kBits>
void UnpackTo(const std::uint8_t* packed, std::int64_t count, unsigned sign, std::uint8_t* codes) {
  constexpr int kPerByte = 8 / kBits;
  constexpr unsigned kMask = (1U << kBits) - 1U;
  const auto value = [sign](std::uint8_t byte, int j) {
    const unsigned code = (byte >> (j * kBits)) & kMask;
    return static_cast<std::uint8_t>((code ^ sign) - sign);
  };
  const std::int64_t full = count / kPerByte;
  for (std::int64_t i = 0; i < full; ++i) {
    for (int j = 0; j < kPerByte; ++j) codes[i * kPerByte + j] = value(packed[i], j);
  }
  for (std::int64_t i = full * kPerByte; i < count; ++i) {
    codes[i] = value(packed[full], static_cast<int>(i - full * kPerByte));
  }
}

}  // namespace

std::int64_t PackedBytes(std::int64_t count, int bits) {
  CheckBits(bits);
  if (count < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "PackedBytes: count must be >= 0, found " + std::to_string(count) + ".");
  }
  const std::int64_t per_byte = 8 / bits;
  return count / per_byte + (count % per_byte != 0 ? 1 : 0);  // count * bits could overflow
}

void pack(const void* codes, bool is_signed, std::int64_t count, int bits, std::uint8_t* packed) {
  CheckBits(bits);
  if (is_signed) {
    CheckCodes(static_cast<const std::int8_t*>(codes), count, bits);
  } else {
    CheckCodes(static_cast<const std::uint8_t*>(codes), count, bits);
  }
  const auto* const bytes = static_cast<const std::uint8_t*>(codes);
  if (bits == 2) return PackTo<2>(bytes, count, packed);
  if (bits == 4) return PackTo<4>(bytes, count, packed);
  if (count > 0) std::memcpy(packed, bytes, static_cast<std::size_t>(count));
}

void unpack(const std::uint8_t* packed, std::int64_t count, int bits, bool is_signed, void* codes) {
  CheckBits(bits);
  const unsigned sign = is_signed ? 1U << (bits - 1) : 0U;
  auto* const bytes = static_cast<std::uint8_t*>(codes);
  if (bits == 2) return UnpackTo<2>(packed, count, sign, bytes);
  if (bits == 4) return UnpackTo<4>(packed, count, sign, bytes);
  if (count > 0) std::memcpy(bytes, packed, static_cast<std::size_t>(count));
}

}  // namespace edgeqat
