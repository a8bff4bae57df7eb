// SPDX-License-Identifier: Apache-2.0
// transpose_bits against moving one bit at a time, over shapes that do and do not end at bytes.
#include "cpu/transpose_bits.h"

#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

using testing::GuardedBuffer;

int Bit(const std::uint8_t* bits, std::int64_t position) {
  return (bits[position / 8] >> (position % 8)) & 1;
}

TEST(TransposeBits, MovesEveryBit) {
  std::mt19937 random(1);
  for (const std::int64_t batch : {1, 2, 3}) {
    for (const std::int64_t rows : {1, 2, 7, 8, 9, 16, 49, 64}) {
      for (const std::int64_t columns : {1, 3, 8, 10, 16, 24, 33}) {
        const std::int64_t count = batch * rows * columns;
        const auto bytes = static_cast<std::size_t>((count + 7) / 8);
        GuardedBuffer from(bytes), to(bytes);
        for (std::size_t i = 0; i < bytes; ++i) {
          from.data()[i] = static_cast<std::uint8_t>(random());
        }
        std::memset(to.data(), 0xFF, bytes);
        cpu::transpose_bits(batch, rows, columns, from.data(), to.data(),
                            [](std::int64_t pieces, const RangeBody& body) {
                              for (std::int64_t i = pieces; i-- > 0;) body(i, i + 1);
                            });
        for (std::int64_t b = 0; b < batch; ++b) {
          for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t c = 0; c < columns; ++c) {
              ASSERT_EQ(Bit(to.data(), (b * columns + c) * rows + r),
                        Bit(from.data(), (b * rows + r) * columns + c))
                  << batch << " x " << rows << " x " << columns;
            }
          }
        }
        for (std::int64_t spare = count; spare % 8 != 0; ++spare) {
          ASSERT_EQ(Bit(to.data(), spare), 0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace edgeqat
