// SPDX-License-Identifier: Apache-2.0
// Launchers of pack and unpack for the layout that edgeqat/packing.h defines ("lsb-first-v1").
//
// All pointers are device memory; conditions on streams as in cuda/fake_quantize.h.
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace edgeqat::cuda {

// `count` one-byte codes to ceil(count * bits / 8) bytes; bits is 2, 4 or 8. The low `bits` bits of
// each code are taken: a code that does not fit cannot be reported without waiting for the device.
void pack(const void* codes, std::int64_t count, int bits, std::uint8_t* packed,
          cudaStream_t stream);

void unpack(const std::uint8_t* packed, std::int64_t count, int bits, bool is_signed, void* codes,
            cudaStream_t stream);

}  // namespace edgeqat::cuda
