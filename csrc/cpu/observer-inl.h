// SPDX-License-Identifier: Apache-2.0
// The loops of observe_minmax; contract in edgeqat/observer.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

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

// The compiler's portable vector. gcc takes a dependent length only with a dependent element type.
template <typename Element, int kLanes>
struct Vector {
  using Type [[gnu::vector_size(kLanes * sizeof(Element))]] = Element;
};

// Minimum and maximum over one scale; returns the number of non-finite values. Written with the
// compiler's portable vectors, because it does not vectorise the plain loop: 20 ms instead of 5 for
// 2^25 floats. kLanes is that of the instruction set's registers; a comparison of wider vectors
// falls apart into scalars (67 ms). Without NaN, float minima need no keys; -0 or +0 may win, and
// FromKey makes both +0.
template <int kLanes, bool kClamp>
EDGEQAT_ALWAYS_INLINE std::int64_t ObserveUniform(const float* x, std::int64_t count, float top,
                                                  std::int32_t& min_key, std::int32_t& max_key) {
  using Floats = typename Vector<float, kLanes>::Type;
  using Ints = typename Vector<std::int32_t, kLanes>::Type;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Floats zero = {};
  const Floats highest = zero + top;
  const Floats infinity = zero + kInfinity;
  Floats smallest = infinity;
  Floats largest = -infinity;
  Ints finite_count = {};
  const auto take = [&](Floats value) __attribute__((always_inline)) {
    if constexpr (kClamp) {
      value = value < zero ? zero : value;
      value = value > highest ? highest : value;
    }
    const Ints finite = (reinterpret_cast<Ints>(value) & 0x7FFFFFFF) < 0x7F800000;  // 0 or -1
    const Floats low = finite ? value : infinity;
    const Floats high = finite ? value : -infinity;
    smallest = low < smallest ? low : smallest;
    largest = high > largest ? high : largest;
    finite_count -= finite;
  };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Floats value;
    std::memcpy(&value, x + i, sizeof(value));
    take(value);
  }
  const std::int64_t rest = count - i;
  if (rest > 0) {  // filled up with a value that is not finite, and so is not taken
    Floats value = infinity;
    if constexpr (kClamp)
      value = reinterpret_cast<Floats>(reinterpret_cast<Ints>(zero) - 1);  // NaN
    std::memcpy(&value, x + i, static_cast<std::size_t>(rest) * sizeof(float));
    take(value);
  }
  std::int64_t finite = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    min_key = std::min(min_key, OrderKey(std::bit_cast<std::int32_t>(float{smallest[lane]})));
    max_key = std::max(max_key, OrderKey(std::bit_cast<std::int32_t>(float{largest[lane]})));
    finite += finite_count[lane];
  }
  return count - finite;
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
template <int kLanes, bool kClamp>
EDGEQAT_ALWAYS_INLINE std::int64_t ObserveBlock(const float* x, std::int64_t count, float top,
                                                std::int64_t width, SegmentCursor& cursor,
                                                std::int32_t* min_keys, std::int32_t* max_keys) {
  Segment segment = cursor.Next(count);
  if (width == 1 && segment.length == count) {
    return ObserveUniform<kLanes, kClamp>(x, count, top, min_keys[segment.scale],
                                          max_keys[segment.scale]);
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

// The block with NaN in the place of pruned values: NaN is never taken. Returns how many there are,
// for the count of values that are not finite must leave them out.
EDGEQAT_ALWAYS_INLINE std::int64_t HidePruned(const float* x, const std::uint8_t* mask,
                                              std::int64_t count, float* out) {
  std::int32_t pruned = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = mask[i] != 0 ? x[i] : std::numeric_limits<float>::quiet_NaN();
    pruned += mask[i] != 0 ? 0 : 1;
  }
  return pruned;
}

template <int kLanes, typename T>
EDGEQAT_ALWAYS_INLINE std::int64_t ObserveMinmaxRange(const ObserveMinmaxArgs& args,
                                                      std::int64_t begin, std::int64_t end,
                                                      std::int32_t* min_keys,
                                                      std::int32_t* max_keys) {
  alignas(64) float buffer[kBlock];
  alignas(64) float kept[kBlock];
  const T* const x = static_cast<const T*>(args.x);
  std::int64_t non_finite = 0;
  SegmentCursor cursor(args.layout, begin);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    const float* values = LoadBlock(x + i, count, buffer);
    if (args.mask != nullptr) {
      non_finite -= HidePruned(values, args.mask + i, count, kept);
      values = kept;
    }
    non_finite += ObserveBlock<kLanes, false>(values, count, 0.0F, args.layout.width, cursor,
                                              min_keys, max_keys);
  }
  return non_finite;
}

template <int kLanes>
EDGEQAT_ALWAYS_INLINE std::int64_t ObserveMinmaxBody(const ObserveMinmaxArgs& args,
                                                     std::int64_t begin, std::int64_t end,
                                                     std::int32_t* min_keys,
                                                     std::int32_t* max_keys) {
  switch (args.dtype) {
    case FloatType::kFloat32:
      return ObserveMinmaxRange<kLanes, float>(args, begin, end, min_keys, max_keys);
    case FloatType::kFloat16:
      return ObserveMinmaxRange<kLanes, Float16>(args, begin, end, min_keys, max_keys);
    case FloatType::kBFloat16:
      return ObserveMinmaxRange<kLanes, BFloat16>(args, begin, end, min_keys, max_keys);
  }
  return 0;
}

}  // namespace edgeqat::cpu
