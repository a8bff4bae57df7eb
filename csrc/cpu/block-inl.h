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
  bool uniform;
  float scale, low, high;  // used if uniform; low = qmin - zero_point, high = qmax - zero_point
  alignas(64) float scales[kBlock];
  alignas(64) float lows[kBlock];
  alignas(64) float highs[kBlock];
};

EDGEQAT_ALWAYS_INLINE void FillRun(float* out, std::int64_t count, float value) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = value;
}

// Writes the parameters of elements [begin, begin + count) into `block`.
EDGEQAT_ALWAYS_INLINE void LoadQParams(const QuantLayout& layout, const float* scale,
                                       const std::int32_t* zero_point, std::int32_t qmin,
                                       std::int32_t qmax, std::int64_t begin, std::int64_t count,
                                       BlockQParams& block) {
  const std::int64_t run = layout.width == 1 ? layout.rows : 1;
  std::int64_t channel = (begin / (layout.rows * layout.width)) % layout.channels;
  std::int64_t offset = begin % (layout.rows * layout.width);  // inside the channel
  if (layout.width == 1 && offset + count <= run) {
    block.uniform = true;
    block.scale = scale[channel];
    block.low = static_cast<float>(qmin - zero_point[channel]);
    block.high = static_cast<float>(qmax - zero_point[channel]);
    return;
  }
  block.uniform = false;
  for (std::int64_t done = 0; done < count;) {
    std::int64_t length;
    if (layout.width == 1) {
      length = std::min(run - offset, count - done);
      FillRun(block.scales + done, length, scale[channel]);
      FillRun(block.lows + done, length, static_cast<float>(qmin - zero_point[channel]));
      FillRun(block.highs + done, length, static_cast<float>(qmax - zero_point[channel]));
    } else {
      const std::int64_t column = offset % layout.width;
      length = std::min(layout.width - column, count - done);
      const float* const s = scale + channel * layout.width + column;
      const std::int32_t* const z = zero_point + channel * layout.width + column;
      for (std::int64_t i = 0; i < length; ++i) {
        block.scales[done + i] = s[i];
        block.lows[done + i] = static_cast<float>(qmin - z[i]);
        block.highs[done + i] = static_cast<float>(qmax - z[i]);
      }
    }
    done += length;
    offset += length;
    if (offset == layout.rows * layout.width) {
      offset = 0;
      channel = channel + 1 == layout.channels ? 0 : channel + 1;
    }
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

}  // namespace edgeqat::cpu
