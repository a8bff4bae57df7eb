// SPDX-License-Identifier: Apache-2.0
// How a flat range of elements is cut into blocks that stay in the first-level cache, and which
// scales a block uses.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/float16-inl.h"
#include "cpu/target.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::cpu {

// 512 floats of x, y, scales and limits are 10 KiB: they stay in a 32 KiB first-level cache.
inline constexpr std::int64_t kBlock = 512;

// The quantization parameters of one block. Where all its elements share one scale (per tensor, or
// a channel longer than the block), the loop broadcasts; otherwise it reads an array. Two loops
// cover every granularity.
struct BlockQParams {
  bool uniform = false;
  float scale = 1.0F;  // the scalars are used if uniform
  float low = 0.0F;    // qmin - zero_point
  float high = 0.0F;   // qmax - zero_point
  alignas(64) float scales[kBlock];
  alignas(64) float lows[kBlock];
  alignas(64) float highs[kBlock];
};

// Consecutive elements that share one scale (layout.width == 1) or use consecutive scales (width >
// 1).
struct Segment {
  std::int64_t length;
  std::int64_t scale;  // the index of the first one's scale
};

// Walks over the segments of a range with two divisions in all, not two per element.
class SegmentCursor {
 public:
  EDGEQAT_ALWAYS_INLINE SegmentCursor(const QuantLayout& layout, std::int64_t begin)
      : width_(layout.width),
        channels_(layout.channels),
        channel_size_(layout.rows * layout.width),
        channel_((begin / channel_size_) % channels_),
        offset_(begin % channel_size_),
        column_(width_ == 1 ? 0 : offset_ % width_) {}

  // The segment at the current position, at most `limit` long; then moves behind it.
  EDGEQAT_ALWAYS_INLINE Segment Next(std::int64_t limit) {
    const std::int64_t end = width_ == 1 ? channel_size_ - offset_ : width_ - column_;
    const Segment segment = {std::min(end, limit), channel_ * width_ + column_};
    offset_ += segment.length;
    column_ = width_ == 1 || segment.length == end ? 0 : column_ + segment.length;
    if (offset_ == channel_size_) {
      offset_ = 0;
      channel_ = channel_ + 1 == channels_ ? 0 : channel_ + 1;
    }
    return segment;
  }

 private:
  std::int64_t width_, channels_, channel_size_;
  std::int64_t channel_, offset_, column_;
};

// Writes the parameters of elements [begin, begin + count) into `block`.
EDGEQAT_ALWAYS_INLINE void LoadQParams(const QuantLayout& layout, const float* scale,
                                       const std::int32_t* zero_point, std::int32_t qmin,
                                       std::int32_t qmax, std::int64_t begin, std::int64_t count,
                                       BlockQParams& block) {
  SegmentCursor cursor(layout, begin);
  for (std::int64_t done = 0; done < count;) {
    const Segment segment = cursor.Next(count - done);
    const float* const s = scale + segment.scale;
    const std::int32_t* const z = zero_point + segment.scale;
    if (layout.width == 1) {
      const float one_scale = s[0];
      const auto low = static_cast<float>(qmin - z[0]);
      const auto high = static_cast<float>(qmax - z[0]);
      if (segment.length == count) {
        block.uniform = true;
        block.scale = one_scale;
        block.low = low;
        block.high = high;
        return;
      }
      block.uniform = false;
      for (std::int64_t i = 0; i < segment.length; ++i) {
        block.scales[done + i] = one_scale;
        block.lows[done + i] = low;
        block.highs[done + i] = high;
      }
    } else {
      block.uniform = false;
      for (std::int64_t i = 0; i < segment.length; ++i) {
        block.scales[done + i] = s[i];
        block.lows[done + i] = static_cast<float>(qmin - z[i]);
        block.highs[done + i] = static_cast<float>(qmax - z[i]);
      }
    }
    done += segment.length;
  }
}

// The block as float32: x itself, or a converted copy in `buffer`.
EDGEQAT_ALWAYS_INLINE const float* LoadBlock(const float* x, std::int64_t /*count*/,
                                             float* /*buffer*/) {
  return x;
}
template <typename T>
EDGEQAT_ALWAYS_INLINE const float* LoadBlock(const T* x, std::int64_t count, float* buffer) {
  for (std::int64_t i = 0; i < count; ++i) buffer[i] = ToFloat(x[i]);
  return buffer;
}

// Where a loop writes its float32 results: y itself, or `buffer`, from which StoreBlock rounds them
// to y's type.
EDGEQAT_ALWAYS_INLINE float* BlockOutput(float* y, float* /*buffer*/) { return y; }
template <typename T>
EDGEQAT_ALWAYS_INLINE float* BlockOutput(T* /*y*/, float* buffer) {
  return buffer;
}
EDGEQAT_ALWAYS_INLINE void StoreBlock(const float* /*out*/, std::int64_t /*count*/, float* /*y*/) {}
template <typename T>
EDGEQAT_ALWAYS_INLINE void StoreBlock(const float* out, std::int64_t count, T* y) {
  for (std::int64_t i = 0; i < count; ++i) FromFloat(out[i], &y[i]);
}

}  // namespace edgeqat::cpu
