// SPDX-License-Identifier: Apache-2.0
// Layout lsb-first-v1 as a stream of bits: bit b of value v is bit v * bits + b of the stream.
#include "core/reference/packing_ref.h"

#include <cstring>

namespace edgeqat::reference {

void pack_ref(const void* codes, std::int64_t count, int bits, std::uint8_t* packed) {
  std::memset(packed, 0, static_cast<std::size_t>((count * bits + 7) / 8));
  for (std::int64_t v = 0; v < count; ++v) {
    for (int b = 0; b < bits; ++b) {
      const int bit = (static_cast<const std::uint8_t*>(codes)[v] >> b) & 1;
      const std::int64_t position = v * bits + b;
      packed[position / 8] =
          static_cast<std::uint8_t>(packed[position / 8] | (bit << (position % 8)));
    }
  }
}

void unpack_ref(const std::uint8_t* packed, std::int64_t count, int bits, bool is_signed,
                void* codes) {
  for (std::int64_t v = 0; v < count; ++v) {
    int code = 0;
    for (int b = 0; b < bits; ++b) {
      const std::int64_t position = v * bits + b;
      code |= ((packed[position / 8] >> (position % 8)) & 1) << b;
    }
    const bool negative = is_signed && code >= 1 << (bits - 1);
    static_cast<std::uint8_t*>(codes)[v] =
        static_cast<std::uint8_t>(negative ? code - (1 << bits) : code);
  }
}

}  // namespace edgeqat::reference
