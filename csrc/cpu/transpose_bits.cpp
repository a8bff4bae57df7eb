// SPDX-License-Identifier: Apache-2.0
// transpose_bits in blocks of 8 x 8 bits, one 64-bit word each.
#include "cpu/transpose_bits.h"

#include <algorithm>
#include <cstring>

namespace edgeqat::cpu {
namespace {

// Byte r is row r, bit c of it column c. Exchanges 1 x 1, then 2 x 2, then 4 x 4 sub-blocks across
// the diagonal.
std::uint64_t Transpose8x8(std::uint64_t x) {
  std::uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAULL;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCULL;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ULL;
  return x ^ t ^ (t << 28);
}

// `count` <= 8 bits from bit `position` on; touches no byte that has none of them.
std::uint64_t ReadBits(const std::uint8_t* from, std::int64_t position, std::int64_t count) {
  const std::int64_t shift = position % 8;
  unsigned value = static_cast<unsigned>(from[position / 8]) >> shift;
  if (shift + count > 8) value |= static_cast<unsigned>(from[position / 8 + 1]) << (8 - shift);
  return value & ((1U << count) - 1U);
}

// Sets the bits of `value` (< 2^8) from bit `position` on; the bytes were 0 before the first call.
void OrBits(std::uint8_t* to, std::int64_t position, std::uint64_t value) {
  const unsigned shifted = static_cast<unsigned>(value) << (position % 8);
  to[position / 8] = static_cast<std::uint8_t>(to[position / 8] | shifted);
  if (shifted > 0xFF) {
    to[position / 8 + 1] = static_cast<std::uint8_t>(to[position / 8 + 1] | (shifted >> 8));
  }
}

// One matrix whose rows and columns are whole bytes. Two columns of blocks would share no byte.
void TransposeAligned(std::int64_t rows, std::int64_t columns, const std::uint8_t* from,
                      std::uint8_t* to) {
  const std::int64_t from_stride = columns / 8;
  const std::int64_t to_stride = rows / 8;
  for (std::int64_t r = 0; r < to_stride; ++r) {
    for (std::int64_t c = 0; c < from_stride; ++c) {
      const std::uint8_t* const block = from + r * 8 * from_stride + c;
      std::uint64_t word = 0;
      for (int i = 0; i < 8; ++i) word |= std::uint64_t{block[i * from_stride]} << (8 * i);
      word = Transpose8x8(word);
      std::uint8_t* const out = to + c * 8 * to_stride + r;
      for (int i = 0; i < 8; ++i) out[i * to_stride] = static_cast<std::uint8_t>(word >> (8 * i));
    }
  }
}

// Any matrix, anywhere in the stream of bits.
void TransposeAny(std::int64_t start, std::int64_t rows, std::int64_t columns,
                  const std::uint8_t* from, std::uint8_t* to) {
  for (std::int64_t r = 0; r < rows; r += 8) {
    const std::int64_t height = std::min<std::int64_t>(8, rows - r);
    for (std::int64_t c = 0; c < columns; c += 8) {
      const std::int64_t width = std::min<std::int64_t>(8, columns - c);
      std::uint64_t word = 0;
      for (std::int64_t i = 0; i < height; ++i) {
        word |= ReadBits(from, start + (r + i) * columns + c, width) << (8 * i);
      }
      word = Transpose8x8(word);
      for (std::int64_t i = 0; i < width; ++i) {
        OrBits(to, start + (c + i) * rows + r, (word >> (8 * i)) & 0xFF);
      }
    }
  }
}

}  // namespace

void transpose_bits(std::int64_t batch, std::int64_t rows, std::int64_t columns,
                    const std::uint8_t* from, std::uint8_t* to, const ParallelFor& pool) {
  const std::int64_t bits = rows * columns;
  if (batch * bits == 0) return;
  const bool aligned = rows % 8 == 0 && columns % 8 == 0;
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      if (aligned) {
        TransposeAligned(rows, columns, from + b * bits / 8, to + b * bits / 8);
      } else {
        TransposeAny(b * bits, rows, columns, from, to);
      }
    }
  };
  if (!aligned) std::memset(to, 0, static_cast<std::size_t>((batch * bits + 7) / 8));
  // matrices that end inside a byte share it with the next one, so one thread writes them all
  if (pool && batch > 1 && bits % 8 == 0) {
    pool(batch, run);
  } else {
    run(0, batch);
  }
}

}  // namespace edgeqat::cpu
