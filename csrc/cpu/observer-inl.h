// SPDX-License-Identifier: Apache-2.0
// The loops of observe_minmax; contract in edgeqat/observer.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "cpu/block-inl.h"
#include "cpu/round-inl.h"
#include "edgeqat/observer.h"

namespace edgeqat::cpu {

// Float bits to an integer of the same order (negative floats count backwards), and back: the map
// is its own inverse. Integer min and max vectorise as reductions, float ones do not without
// -ffast-math, and integers have no NaN and one zero order: -0 (-1) is below +0 (0).
EDGEQAT_ALWAYS_INLINE constexpr std::int32_t OrderKey(std::int32_t bits) {
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

inline constexpr std::int32_t kInfKey = 0x7F800000;  // +inf: nothing seen yet, for the minimum
inline constexpr std::int32_t kNegInfKey = OrderKey(-0x800000);  // -inf, for the maximum

// What is observed of a value: itself, or with kClamp the value that relu or relu6 makes of it.
template <bool kClamp>
EDGEQAT_ALWAYS_INLINE std::int32_t ObservedBits(float x, float top) {
  if constexpr (kClamp) x = Clamp(x, 0.0F, top);
  return std::bit_cast<std::int32_t>(x);
}

EDGEQAT_ALWAYS_INLINE bool IsFinite(std::int32_t bits) { return (bits & 0x7F800000) != 0x7F800000; }

// Minimum and maximum over one scale. Non-finite values take the keys that change nothing. Returns
// how many there are.
template <bool kClamp>
EDGEQAT_ALWAYS_INLINE std::int32_t ObserveUniform(const float* x, std::int64_t count, float top,
                                                  std::int32_t& min_key, std::int32_t& max_key) {
  std::int32_t smallest = min_key;
  std::int32_t largest = max_key;
  std::int32_t non_finite = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t bits = ObservedBits<kClamp>(x[i], top);
    const bool finite = IsFinite(bits);
    const std::int32_t key = OrderKey(bits);
    smallest = std::min(smallest, finite ? key : kInfKey);
    largest = std::max(largest, finite ? key : kNegInfKey);
    non_finite += finite ? 0 : 1;
  }
  min_key = smallest;
  max_key = largest;
  return non_finite;
}

template <bool kClamp>
EDGEQAT_ALWAYS_INLINE std::int32_t LoadKeys(const float* x, std::int64_t count, float top,
                                            std::int32_t* min_keys, std::int32_t* max_keys) {
  std::int32_t non_finite = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t bits = ObservedBits<kClamp>(x[i], top);
    const bool finite = IsFinite(bits);
    min_keys[i] = finite ? OrderKey(bits) : kInfKey;
    max_keys[i] = finite ? OrderKey(bits) : kNegInfKey;
    non_finite += finite ? 0 : 1;
  }
  return non_finite;
}

// One block of at most kBlock elements, whose first stands where the cursor does.
template <bool kClamp>
EDGEQAT_ALWAYS_INLINE std::int64_t ObserveBlock(const float* x, std::int64_t count, float top,
                                                std::int64_t width, SegmentCursor& cursor,
                                                std::int32_t* min_keys, std::int32_t* max_keys) {
  Segment segment = cursor.Next(count);
  if (width == 1 && segment.length == count) {
    return ObserveUniform<kClamp>(x, count, top, min_keys[segment.scale], max_keys[segment.scale]);
  }
  alignas(64) std::int32_t lows[kBlock];
  alignas(64) std::int32_t highs[kBlock];
  const std::int64_t non_finite = LoadKeys<kClamp>(x, count, top, lows, highs);
  for (std::int64_t done = 0; done < count;) {
    const std::int32_t* const low = lows + done;
    const std::int32_t* const high = highs + done;
    if (width == 1) {
      std::int32_t smallest = min_keys[segment.scale];
      std::int32_t largest = max_keys[segment.scale];
      for (std::int64_t j = 0; j < segment.length; ++j) {
        smallest = std::min(smallest, low[j]);
        largest = std::max(largest, high[j]);
      }
      min_keys[segment.scale] = smallest;
      max_keys[segment.scale] = largest;
    } else {
      for (std::int64_t j = 0; j < segment.length; ++j) {
        std::int32_t& smallest = min_keys[segment.scale + j];
        std::int32_t& largest = max_keys[segment.scale + j];
        smallest = smallest < low[j] ? smallest : low[j];
        largest = largest > high[j] ? largest : high[j];
      }
    }
    done += segment.length;
    if (done < count) segment = cursor.Next(count - done);
  }
  return non_finite;
}

template <typename T>
EDGEQAT_ALWAYS_INLINE std::int64_t ObserveMinmaxRange(const ObserveMinmaxArgs& args,
                                                      std::int64_t begin, std::int64_t end,
                                                      std::int32_t* min_keys,
                                                      std::int32_t* max_keys) {
  alignas(64) float buffer[kBlock];
  const T* const x = static_cast<const T*>(args.x);
  std::int64_t non_finite = 0;
  SegmentCursor cursor(args.layout, begin);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    non_finite += ObserveBlock<false>(LoadBlock(x + i, count, buffer), count, 0.0F,
                                      args.layout.width, cursor, min_keys, max_keys);
  }
  return non_finite;
}

EDGEQAT_ALWAYS_INLINE std::int64_t ObserveMinmaxBody(const ObserveMinmaxArgs& args,
                                                     std::int64_t begin, std::int64_t end,
                                                     std::int32_t* min_keys,
                                                     std::int32_t* max_keys) {
  switch (args.dtype) {
    case FloatType::kFloat32:
      return ObserveMinmaxRange<float>(args, begin, end, min_keys, max_keys);
    case FloatType::kFloat16:
      return ObserveMinmaxRange<Float16>(args, begin, end, min_keys, max_keys);
    case FloatType::kBFloat16:
      return ObserveMinmaxRange<BFloat16>(args, begin, end, min_keys, max_keys);
  }
  return 0;
}

}  // namespace edgeqat::cpu
