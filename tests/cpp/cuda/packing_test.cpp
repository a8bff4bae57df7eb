// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of pack and unpack, emulated: against the layout's definition, and there and
// back.
#include "cuda/packing.h"

#include <gtest/gtest.h>

#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

// Bit b of code i is bit (i * bits + b) of the stream, lowest bit of byte 0 first.
std::vector<std::uint8_t> PackedByDefinition(const std::vector<std::uint8_t>& codes, int bits) {
  std::vector<std::uint8_t> packed((codes.size() * static_cast<std::size_t>(bits) + 7) / 8);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    for (int b = 0; b < bits; ++b) {
      const std::size_t position = i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(b);
      if (((codes[i] >> b) & 1) != 0) {
        packed[position / 8] |= static_cast<std::uint8_t>(1u << (position % 8));
      }
    }
  }
  return packed;
}

std::vector<std::uint8_t> RandomCodes(std::int64_t n, int bits, bool is_signed) {
  std::mt19937 random(static_cast<unsigned>(n) * 3 + static_cast<unsigned>(bits));
  std::vector<std::uint8_t> codes;
  for (std::int64_t i = 0; i < n; ++i) {
    const int code = static_cast<int>(random() % (1u << bits)) - (is_signed ? 1 << (bits - 1) : 0);
    codes.push_back(static_cast<std::uint8_t>(code));
  }
  return codes;
}

TEST(PackingCuda, EveryWidthSizeSignAndAlignment) {
  emulation = {};
  for (const int bits : {2, 4, 8}) {
    for (const bool is_signed : {false, true}) {
      for (const std::int64_t n : Sizes()) {
        for (const std::size_t offset : {0, 1}) {
          const auto values = RandomCodes(n, bits, is_signed);
          const auto expected = PackedByDefinition(values, bits);
          const Buffer<std::uint8_t> codes(values, offset);
          const Buffer<std::uint8_t> packed(static_cast<std::int64_t>(expected.size()), offset);
          cuda::pack(codes.data(), n, bits, packed.data(), nullptr);
          for (std::size_t i = 0; i < expected.size(); ++i) {
            ASSERT_EQ(packed.data()[i], expected[i]) << bits << " bits, n " << n << ", byte " << i;
          }
          const Buffer<std::uint8_t> back(n, offset);
          cuda::unpack(packed.data(), n, bits, is_signed, back.data(), nullptr);
          for (std::int64_t i = 0; i < n; ++i) {
            ASSERT_EQ(back[i], codes[i]) << bits << " bits, n " << n << ", code " << i;
          }
        }
      }
    }
  }
}

TEST(PackingCuda, TheExamplesOfTheHeader) {
  const Buffer<std::uint8_t> nibbles(std::vector<std::uint8_t>{1, 0xfe, 7});
  const Buffer<std::uint8_t> packed(2);
  cuda::pack(nibbles.data(), 3, 4, packed.data(), nullptr);
  EXPECT_EQ(packed[0], 0xe1);
  EXPECT_EQ(packed[1], 0x07);
}

}  // namespace
}  // namespace edgeqat::cuda
