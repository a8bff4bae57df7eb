// SPDX-License-Identifier: Apache-2.0
// Turns the bits of fake_quantize from memory order into row-major order and back, for
// channels_last tensors.
#pragma once

#include <cstdint>

#include "edgeqat/parallel.h"

namespace edgeqat::cpu {

// `from` holds batch matrices of rows x columns bits, without padding between rows or matrices: bit
// (b, r, c) is bit (b * rows + r) * columns + c, counted from the low bit of the first byte. `to`
// gets bit (b, c, r) of batch matrices of columns x rows. Both have ceil(batch * rows * columns /
// 8) bytes and must not overlap; the spare bits of the last byte become 0.
//
// Why: bits are counted in row-major order, whatever the strides of x. A channels_last x is [n,
// h*w, c] in memory and [n, c, h*w] in row-major order. Transposing the bits moves 1/32 of the
// bytes that transposing x would.
void transpose_bits(std::int64_t batch, std::int64_t rows, std::int64_t columns,
                    const std::uint8_t* from, std::uint8_t* to, const ParallelFor& pool = {});

}  // namespace edgeqat::cpu
