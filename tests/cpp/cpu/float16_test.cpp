// SPDX-License-Identifier: Apache-2.0
// The branch-free conversions of 16-bit floats against the definition: all 65536 patterns, and
// rounding.
#include "cpu/float16-inl.h"
#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

template <typename T>
class Float16Conversion : public ::testing::Test {
 public:
  static constexpr FloatType kType =
      std::is_same_v<T, cpu::Float16> ? FloatType::kFloat16 : FloatType::kBFloat16;

  static void ExpectRounded(float value) {
    T actual{};
    std::uint16_t expected = 0;
    cpu::FromFloat(value, &actual);
    reference::StoreFloat(value, kType, 0, &expected);
    if (std::isnan(value))
      expected = static_cast<std::uint16_t>((expected & 0x7FFF) | (actual.bits & 0x8000));
    ASSERT_EQ(actual.bits, expected) << value;
  }
};
using Types = ::testing::Types<cpu::Float16, cpu::BFloat16>;
TYPED_TEST_SUITE(Float16Conversion, Types);

TYPED_TEST(Float16Conversion, DecodesEveryPattern) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto word = static_cast<std::uint16_t>(bits);
    const float expected = reference::LoadFloat(&word, TestFixture::kType, 0);
    const float actual = cpu::ToFloat(TypeParam{word});
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(actual)) << bits;
    } else {
      ASSERT_EQ(std::bit_cast<std::uint32_t>(actual), std::bit_cast<std::uint32_t>(expected))
          << bits;
    }
  }
}

// Every representable value, the midpoint to the next one, and the floats beside the midpoint.
TYPED_TEST(Float16Conversion, RoundsHalfToEven) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::uint32_t bits = 0; bits < 0xFFFF; ++bits) {
    const float value = cpu::ToFloat(TypeParam{static_cast<std::uint16_t>(bits)});
    const float next = cpu::ToFloat(TypeParam{static_cast<std::uint16_t>(bits + 1)});
    this->ExpectRounded(value);
    const auto middle = static_cast<float>((static_cast<double>(value) + next) / 2);
    this->ExpectRounded(middle);
    this->ExpectRounded(std::nextafter(middle, kInfinity));
    this->ExpectRounded(std::nextafter(middle, -kInfinity));
    if (this->HasFatalFailure()) return;
  }
  for (const float value : {65504.0F, 65519.99F, 65520.0F, 3.4e38F, 3.3961775e38F, 1e-45F, -1e-45F,
                            -0.0F, kInfinity, -kInfinity}) {
    this->ExpectRounded(value);
  }
}

}  // namespace
}  // namespace edgeqat
