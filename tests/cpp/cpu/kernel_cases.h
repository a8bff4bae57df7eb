// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: the variants to run, guarded memory, and inputs that are hard to get
// right.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/reference/float16_ref.h"
#include "cpu/isa_table.h"

namespace edgeqat::testing {

// The rows of the table that this CPU can run.
inline std::vector<const cpu::KernelTable*> Variants() {
  std::vector<const cpu::KernelTable*> variants;
  for (const Isa isa : AvailableIsas()) variants.push_back(&cpu::KernelsFor(isa));
  return variants;
}

inline std::string VariantName(const ::testing::TestParamInfo<const cpu::KernelTable*>& info) {
  return std::string(IsaName(info.param->isa));
}

// Memory that ends (or begins) at a page that may not be touched: a kernel that reads or writes one
// byte too far dies.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(std::size_t bytes) : bytes_(bytes) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t body = (bytes + page - 1) / page * page;
    mapped_ = body + 2 * page;
    base_ = static_cast<char*>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) std::abort();
    if (mprotect(base_, page, PROT_NONE) != 0) std::abort();
    if (mprotect(base_ + page + body, page, PROT_NONE) != 0) std::abort();
    data_ = base_ + page + body - bytes;  // unaligned where bytes is
  }
  ~GuardedBuffer() { munmap(base_, mapped_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  template <typename T = std::uint8_t>
  T* data() {
    return reinterpret_cast<T*>(data_);
  }
  std::size_t size() const { return bytes_; }

 private:
  std::size_t bytes_, mapped_;
  char* base_;
  char* data_;
};

// Sizes around every vector length and block border.
inline std::vector<std::int64_t> Sizes() {
  std::vector<std::int64_t> sizes;
  for (std::int64_t n = 1; n <= 67; ++n) sizes.push_back(n);
  for (std::int64_t power = 128; power <= 2048; power *= 2) {
    sizes.insert(sizes.end(), {power - 1, power, power + 1});
  }
  return sizes;
}

// Ties, values just beside them, both ends of the range, zeros, denormals, infinities, NaN, huge
// values, and noise.
inline float HardValue(std::mt19937& random, float scale) {
  const int kind = static_cast<int>(random() % 16);
  const auto step = static_cast<float>(static_cast<int>(random() % 600) - 300);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  switch (kind) {
    case 0:
      return random() % 2 == 0 ? 0.0F : -0.0F;
    case 1:
      return random() % 2 == 0 ? kInfinity : -kInfinity;
    case 2:
      return random() % 2 == 0 ? std::nanf("") : -std::nanf("");
    case 3:
      return random() % 2 == 0 ? 1e-41F : -std::numeric_limits<float>::denorm_min();
    case 4:
      return random() % 2 == 0 ? std::numeric_limits<float>::max() : -3e38F;
    case 5:
      return static_cast<float>(8388609 + random() % 9) * scale;  // beyond 2^23 steps
    case 6:
    case 7:
    case 8:
      return (step + 0.5F) * scale;
    case 9:
      return std::nextafter((step + 0.5F) * scale, kInfinity);
    case 10:
      return std::nextafter((step + 0.5F) * scale, -kInfinity);
    default:
      return std::normal_distribution<float>(0.0F, 90.0F * scale)(random);
  }
}

inline float RandomScale(std::mt19937& random) {
  constexpr float kScales[] = {1.0F, 0.1F, 0.3F, 7.0F, 1e-3F, 0.0123F, 64.0F, 1e-30F};
  return kScales[random() % std::size(kScales)];
}

inline constexpr FloatType kFloatTypes[] = {FloatType::kFloat32, FloatType::kFloat16,
                                            FloatType::kBFloat16};

struct CodeRange {
  std::int32_t qmin, qmax;
};
// 2 to 8 bits, signed, unsigned, narrow, and a range without zero in the middle.
inline constexpr CodeRange kRanges[] = {{-2, 1},   {-4, 3},   {-8, 7},     {-7, 7},     {-16, 15},
                                        {-32, 31}, {-64, 63}, {-128, 127}, {-127, 127}, {0, 3},
                                        {0, 15},   {0, 127},  {0, 255},    {-100, 100}};

// Every granularity that fits a tensor of about `n` elements.
inline std::vector<QuantLayout> Layouts(std::int64_t n) {
  std::vector<QuantLayout> layouts = {QuantLayout::PerTensor(n), QuantLayout{1, 1, 1, n}};
  for (const std::int64_t channels : {2, 3, 5, 16}) {
    if (n % channels != 0) continue;
    layouts.push_back({1, channels, n / channels, 1});
    layouts.push_back({n / channels, channels, 1, 1});
    layouts.push_back({1, 1, n / channels, channels});
  }
  for (const std::int64_t outer : {2, 3}) {
    if (n % (outer * 6) == 0) layouts.push_back({outer, 3, n / outer / 3, 1});
    if (n % (outer * 6) == 0)
      layouts.push_back({1, outer, n / outer / 6, 6});  // groups, inner axis
  }
  return layouts;
}

// Random quantization parameters of one layout.
struct QParamArrays {
  std::vector<float> scale;
  std::vector<std::int32_t> zero_point;
};

inline QParamArrays RandomQParams(std::mt19937& random, const QuantLayout& layout,
                                  CodeRange range) {
  QParamArrays qparams;
  for (std::int64_t i = 0; i < layout.num_scales(); ++i) {
    qparams.scale.push_back(RandomScale(random));
    const auto width = static_cast<std::uint32_t>(range.qmax - range.qmin + 1);
    qparams.zero_point.push_back(range.qmin + static_cast<std::int32_t>(random() % width));
  }
  return qparams;
}

// Fills `x` with hard values for the scales that its elements use.
inline void FillHard(std::mt19937& random, const QuantLayout& layout,
                     const std::vector<float>& scale, FloatType type, void* x) {
  for (std::int64_t e = 0; e < layout.numel(); ++e) {
    const auto s = static_cast<std::size_t>(layout.index(e));
    reference::StoreFloat(HardValue(random, scale[s]), type, e, x);
  }
}

// Bit for bit, except that any NaN equals any NaN.
inline void ExpectSameFloats(const void* actual, const void* expected, FloatType type,
                             std::int64_t count) {
  const std::int64_t size = SizeOf(type);
  for (std::int64_t e = 0; e < count; ++e) {
    const auto* const a = static_cast<const char*>(actual) + e * size;
    const auto* const b = static_cast<const char*>(expected) + e * size;
    if (std::memcmp(a, b, static_cast<std::size_t>(size)) == 0) continue;
    const float left = reference::LoadFloat(actual, type, e);
    const float right = reference::LoadFloat(expected, type, e);
    ASSERT_TRUE(std::isnan(left) && std::isnan(right))
        << "element " << e << " of " << count << ": " << left << " instead of " << right;
  }
}

}  // namespace edgeqat::testing
