// SPDX-License-Identifier: Apache-2.0
// Decodes and encodes 16-bit floats by the definition: sign, exponent, mantissa, and double
// arithmetic.
#include "core/reference/float16_ref.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace edgeqat::reference {
namespace {

struct Format {
  int mantissa_bits;
  int exponent_bias;
  int exponent_max;  // the all-ones exponent field: infinity and NaN
};
constexpr Format kFloat16 = {10, 15, 31};
constexpr Format kBFloat16 = {7, 127, 255};

double Decode(std::uint16_t bits, Format format) {
  const int one = 1 << format.mantissa_bits;
  const int mantissa = bits & (one - 1);
  const int exponent = (bits >> format.mantissa_bits) & format.exponent_max;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == format.exponent_max) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sign * std::numeric_limits<double>::infinity();
  }
  const int scale = 1 - format.exponent_bias - format.mantissa_bits;
  if (exponent == 0) return sign * std::ldexp(mantissa, scale);
  return sign * std::ldexp(one + mantissa, scale + exponent - 1);
}

std::uint16_t Encode(double value, Format format) {
  const int one = 1 << format.mantissa_bits;
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const int infinity = format.exponent_max << format.mantissa_bits;
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | infinity | (one >> 1));
  const double magnitude = std::abs(value);
  if (std::isinf(magnitude)) return static_cast<std::uint16_t>(sign | infinity);
  const int smallest = 1 - format.exponent_bias;  // the exponent of the smallest normal number
  const int exponent = magnitude == 0.0 ? smallest : std::max(std::ilogb(magnitude), smallest);
  // the number in units of its last mantissa bit; the default rounding mode is half to even
  const auto units =
      static_cast<int>(std::nearbyint(std::ldexp(magnitude, format.mantissa_bits - exponent)));
  // `units` below `one` is a denormal; above, its leading bit adds one to the exponent field, and a
  // rounding up to the next power of two carries into it, up to infinity
  const int field = ((exponent - smallest) << format.mantissa_bits) + units;
  return static_cast<std::uint16_t>(sign | std::min(field, infinity));
}

std::uint16_t LoadWord(const void* data, std::int64_t index) {
  std::uint16_t word = 0;
  std::memcpy(&word, static_cast<const char*>(data) + index * 2, sizeof(word));
  return word;
}

}  // namespace

float LoadFloat(const void* data, FloatType type, std::int64_t index) {
  if (type == FloatType::kFloat32) {
    float value = 0.0F;
    std::memcpy(&value, static_cast<const char*>(data) + index * 4, sizeof(value));
    return value;
  }
  const Format format = type == FloatType::kFloat16 ? kFloat16 : kBFloat16;
  return static_cast<float>(Decode(LoadWord(data, index), format));
}

void StoreFloat(float value, FloatType type, std::int64_t index, void* data) {
  if (type == FloatType::kFloat32) {
    std::memcpy(static_cast<char*>(data) + index * 4, &value, sizeof(value));
    return;
  }
  const std::uint16_t word = Encode(value, type == FloatType::kFloat16 ? kFloat16 : kBFloat16);
  std::memcpy(static_cast<char*>(data) + index * 2, &word, sizeof(word));
}

}  // namespace edgeqat::reference
