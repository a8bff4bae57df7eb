// SPDX-License-Identifier: Apache-2.0
// Scalar oracle of pack and unpack: one bit at a time.
#pragma once

#include <cstdint>

namespace edgeqat::reference {

void pack_ref(const void* codes, std::int64_t count, int bits, std::uint8_t* packed);
void unpack_ref(const std::uint8_t* packed, std::int64_t count, int bits, bool is_signed,
                void* codes);

}  // namespace edgeqat::reference
