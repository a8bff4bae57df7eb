// SPDX-License-Identifier: Apache-2.0
// pack and unpack against the bit-stream reference, the documented bytes, and refused codes.
#include "edgeqat/packing.h"

#include "core/reference/packing_ref.h"
#include "cpu/kernel_cases.h"
#include "edgeqat/error.h"

namespace edgeqat {
namespace {

using testing::GuardedBuffer;

TEST(Packing, EqualsTheBitStreamAtEverySize) {
  std::mt19937 random(1);
  for (const int bits : {2, 4, 8}) {
    for (const bool is_signed : {false, true}) {
      for (const std::int64_t n : testing::Sizes()) {
        const int low = is_signed ? -(1 << (bits - 1)) : 0;
        GuardedBuffer codes(static_cast<std::size_t>(n)), back(static_cast<std::size_t>(n));
        for (std::int64_t i = 0; i < n; ++i) {
          codes.data()[i] =
              static_cast<std::uint8_t>(low + static_cast<int>(random() % (1U << bits)));
        }
        GuardedBuffer packed(static_cast<std::size_t>(PackedBytes(n, bits)));
        std::vector<std::uint8_t> expected(packed.size());
        pack(codes.data(), is_signed, n, bits, packed.data());
        reference::pack_ref(codes.data(), n, bits, expected.data());
        ASSERT_EQ(std::memcmp(packed.data(), expected.data(), packed.size()), 0)
            << bits << " " << n;
        unpack(packed.data(), n, bits, is_signed, back.data());
        ASSERT_EQ(std::memcmp(back.data(), codes.data(), codes.size()), 0) << bits << " " << n;
        reference::unpack_ref(expected.data(), n, bits, is_signed, back.data());
        ASSERT_EQ(std::memcmp(back.data(), codes.data(), codes.size()), 0) << bits << " " << n;
      }
    }
  }
}

TEST(Packing, FirstValueTakesTheLowBits) {
  const std::int8_t four[] = {1, -2, 7};
  std::uint8_t packed[2];
  pack(four, true, 3, 4, packed);
  EXPECT_EQ(packed[0], 0xE1);
  EXPECT_EQ(packed[1], 0x07);
  const std::uint8_t two[] = {0, 1, 2, 3};
  pack(two, false, 4, 2, packed);
  EXPECT_EQ(packed[0], 0xE4);
}

TEST(Packing, RefusesWhatDoesNotFit) {
  std::uint8_t packed[4];
  const std::int8_t low[] = {0, -9};
  const std::int8_t high[] = {8, 0};
  const std::uint8_t unsigned_code[] = {3, 4};
  EXPECT_THROW(pack(low, true, 2, 4, packed), Error);
  EXPECT_THROW(pack(high, true, 2, 4, packed), Error);
  EXPECT_THROW(pack(unsigned_code, false, 2, 2, packed), Error);
  EXPECT_THROW(pack(low, true, 2, 3, packed), Error);
  EXPECT_THROW((void)PackedBytes(-1, 4), Error);
  try {
    pack(low, true, 2, 4, packed);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("-9 at position 1"), std::string::npos)
        << error.what();
  }
}

TEST(Packing, CountsBytesWithoutOverflow) {
  EXPECT_EQ(PackedBytes(0, 4), 0);
  EXPECT_EQ(PackedBytes(5, 2), 2);
  EXPECT_EQ(PackedBytes(std::numeric_limits<std::int64_t>::max(), 8),
            std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(PackedBytes(std::numeric_limits<std::int64_t>::max(), 4), std::int64_t{1} << 62);
}

}  // namespace
}  // namespace edgeqat
