// SPDX-License-Identifier: Apache-2.0
// The loops of the magnitude reduction; the order of the sums is that of core/magnitude.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "core/magnitude.h"
#include "cpu/block-inl.h"

namespace edgeqat::cpu {

// |x| of elements that count, -1 of the others.
template <typename T>
EDGEQAT_ALWAYS_INLINE void LoadMagnitudes(const T* x, const std::uint8_t* mask, std::int64_t count,
                                          float* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<std::int32_t>(ToFloat(x[i])) & 0x7FFFFFFF;
    to[i] = bits < 0x7F800000 ? std::bit_cast<float>(bits) : -1.0F;
  }
  if (mask == nullptr) return;
  for (std::int64_t i = 0; i < count; ++i) to[i] = mask[i] != 0 ? to[i] : -1.0F;
}

// Elements [first, first + count) of a scale, in the order of the layout.
template <typename T>
EDGEQAT_ALWAYS_INLINE void GatherMagnitudes(const MagnitudeArgs& args, std::int64_t scale,
                                            std::int64_t first, std::int64_t count, float* to) {
  const QuantLayout& layout = args.layout;
  const std::int64_t channel = scale / layout.width;
  const std::int64_t column = scale % layout.width;
  const T* const x = static_cast<const T*>(args.x);
  std::int64_t outer = first / layout.rows;
  std::int64_t row = first % layout.rows;
  for (std::int64_t done = 0; done < count; ++outer, row = 0) {
    const std::int64_t run = std::min(layout.rows - row, count - done);
    const std::int64_t start =
        ((outer * layout.channels + channel) * layout.rows + row) * layout.width + column;
    if (layout.width == 1) {
      LoadMagnitudes(x + start, args.mask == nullptr ? nullptr : args.mask + start, run, to + done);
    } else {
      for (std::int64_t i = 0; i < run; ++i) {
        const std::int64_t e = start + i * layout.width;
        LoadMagnitudes(x + e, args.mask == nullptr ? nullptr : args.mask + e, 1, to + done + i);
      }
    }
    done += run;
  }
}

// The compiler's portable vectors: one to eight registers on every instruction set, and the same
// sums.
struct MagnitudeLanes {
  using Floats [[gnu::vector_size(4 * kMagnitudeLanes)]] = float;
  using Ints [[gnu::vector_size(4 * kMagnitudeLanes)]] = std::int32_t;
  using Doubles [[gnu::vector_size(8 * kMagnitudeLanes)]] = double;
  Doubles sum = {};
  Ints count = {};
  Floats max = {};
};

// `count` is a multiple of 16.
EDGEQAT_ALWAYS_INLINE void AddMagnitudes(const float* magnitudes, std::int64_t count,
                                         float threshold, MagnitudeLanes& lanes) {
  MagnitudeLanes::Doubles sum = lanes.sum;
  MagnitudeLanes::Ints above = lanes.count;
  MagnitudeLanes::Floats max = lanes.max;
  for (std::int64_t i = 0; i < count; i += kMagnitudeLanes) {
    MagnitudeLanes::Floats m;
    std::memcpy(&m, magnitudes + i, sizeof(m));
    const MagnitudeLanes::Ints counts = m > threshold;
    m = counts ? m : MagnitudeLanes::Floats{};
    sum += __builtin_convertvector(m, MagnitudeLanes::Doubles);
    above -= counts;
    max = m > max ? m : max;
  }
  lanes.sum = sum;
  lanes.count = above;
  lanes.max = max;
}

EDGEQAT_ALWAYS_INLINE MagnitudeSums Total(const MagnitudeLanes& lanes) {
  MagnitudeSums total;
  for (int j = 0; j < kMagnitudeLanes; ++j) {
    total.sum += lanes.sum[j];
    total.count += lanes.count[j];
    total.max = lanes.max[j] > total.max ? lanes.max[j] : total.max;
  }
  return total;
}

template <typename T>
EDGEQAT_ALWAYS_INLINE void ReduceMagnitudeUnits(const MagnitudeArgs& args, std::int64_t begin,
                                                std::int64_t end, MagnitudeSums* units) {
  alignas(64) float magnitudes[kBlock];
  const std::int64_t elements = ElementsPerScale(args.layout);
  const std::int64_t pieces = PiecesPerScale(args.layout);
  for (std::int64_t unit = begin; unit < end; ++unit) {
    const std::int64_t scale = unit / pieces;
    const std::int64_t first = unit % pieces * kMagnitudePiece;
    const std::int64_t last = std::min(elements, first + kMagnitudePiece);
    const float threshold = args.threshold == nullptr ? -0.5F : args.threshold[scale];
    MagnitudeLanes lanes;
    for (std::int64_t i = first; i < last; i += kBlock) {
      const std::int64_t count = std::min(kBlock, last - i);
      GatherMagnitudes<T>(args, scale, i, count, magnitudes);
      std::int64_t padded = count;
      for (; padded % kMagnitudeLanes != 0; ++padded) magnitudes[padded] = -1.0F;
      AddMagnitudes(magnitudes, padded, threshold, lanes);
    }
    units[unit] = Total(lanes);
  }
}

EDGEQAT_ALWAYS_INLINE void ReduceMagnitudesBody(const MagnitudeArgs& args, std::int64_t begin,
                                                std::int64_t end, MagnitudeSums* units) {
  switch (args.dtype) {
    case FloatType::kFloat32:
      return ReduceMagnitudeUnits<float>(args, begin, end, units);
    case FloatType::kFloat16:
      return ReduceMagnitudeUnits<Float16>(args, begin, end, units);
    case FloatType::kBFloat16:
      return ReduceMagnitudeUnits<BFloat16>(args, begin, end, units);
  }
}

// One value per scale as one per element of a block.
EDGEQAT_ALWAYS_INLINE void ExpandPerScale(const QuantLayout& layout, const float* values,
                                          std::int64_t begin, std::int64_t count, float* to) {
  SegmentCursor cursor(layout, begin);
  for (std::int64_t done = 0; done < count;) {
    const Segment segment = cursor.Next(count - done);
    const float* const from = values + segment.scale;
    for (std::int64_t i = 0; i < segment.length; ++i) {
      to[done + i] = layout.width == 1 ? from[0] : from[i];
    }
    done += segment.length;
  }
}

}  // namespace edgeqat::cpu
