// SPDX-License-Identifier: Apache-2.0
// Adds the contributions of one block to the sums of its scales, in an order that every instruction
// set follows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/block-inl.h"
#include "cpu/target.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::cpu {

// Sixteen float32 sums side by side (element i goes to sum i % 16), put together in double; what is
// left behind the last sixteen follows one by one. The compiler may not reorder float additions, so
// the lanes are spelled out: the portable vectors of four give the same bits everywhere.
EDGEQAT_ALWAYS_INLINE double LaneSum(const float* values, std::int64_t count) {
  using Four [[gnu::vector_size(16)]] = float;
  Four a = {}, b = {}, c = {}, d = {};
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    Four next[4];
    std::memcpy(next, values + i, sizeof(next));
    a += next[0];
    b += next[1];
    c += next[2];
    d += next[3];
  }
  double sum = 0.0;
  if (i > 0) {
    for (int lane = 0; lane < 4; ++lane) {
      sum += (static_cast<double>(a[lane]) + static_cast<double>(b[lane])) +
             (static_cast<double>(c[lane]) + static_cast<double>(d[lane]));
    }
  }
  for (; i < count; ++i) sum += static_cast<double>(values[i]);
  return sum;
}

// Where a block's contributions go: walks over the runs of a piece (see SumPieces).
class SumCursor {
 public:
  EDGEQAT_ALWAYS_INLINE SumCursor(const QuantLayout& layout, std::int64_t begin)
      : columns_(layout.rows == 1 && layout.width == 1),
        width_(columns_ ? layout.channels : layout.width),
        run_(columns_ ? layout.numel() : layout.rows * layout.width),
        offset_(begin % run_) {}

  // Adds the next `count` values, at most a block; a piece starts at the start of a row.
  EDGEQAT_ALWAYS_INLINE void Add(const float* values, std::int64_t count, double* sums) {
    if (width_ == 1) {
      AddRuns(values, count, sums);
    } else if (width_ * kRowsToGather <= kBlock && run_ >= width_ * kRowsToGather) {
      AddRows(values, count, sums);
    } else {
      AddColumns(values, count, sums);
    }
  }

 private:
  // From here on it pays to add rows in float32 before they go to the sums in double.
  static constexpr std::int64_t kRowsToGather = 4;

  EDGEQAT_ALWAYS_INLINE void Advance(std::int64_t length) {
    offset_ += length;
    if (offset_ == run_) {
      offset_ = 0;
      first_ += width_;
    }
  }

  EDGEQAT_ALWAYS_INLINE void AddRuns(const float* values, std::int64_t count, double* sums) {
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t length = std::min(run_ - offset_, count - done);
      sums[first_] += LaneSum(values + done, length);
      done += length;
      Advance(length);
    }
  }

  EDGEQAT_ALWAYS_INLINE void AddColumns(const float* values, std::int64_t count, double* sums) {
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t length = std::min(width_ - column_, count - done);
      double* const sum = sums + first_ + column_;
      for (std::int64_t j = 0; j < length; ++j) sum[j] += static_cast<double>(values[done + j]);
      done += length;
      column_ = column_ + length == width_ ? 0 : column_ + length;
      Advance(length);
    }
  }

  // The rows of one run that the values hold, first in float32.
  EDGEQAT_ALWAYS_INLINE void AddRows(const float* values, std::int64_t count, double* sums) {
    alignas(64) float gathered[kBlock / kRowsToGather];
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t end = done + std::min(run_ - offset_, count - done);
      double* const sum = sums + first_;
      for (std::int64_t j = 0; j < width_; ++j) gathered[j] = 0.0F;
      while (done < end) {
        const std::int64_t length = std::min(width_ - column_, end - done);
        float* const row = gathered + column_;
        for (std::int64_t j = 0; j < length; ++j) row[j] += values[done + j];
        done += length;
        column_ = column_ + length == width_ ? 0 : column_ + length;
        Advance(length);
      }
      for (std::int64_t j = 0; j < width_; ++j) sum[j] += static_cast<double>(gathered[j]);
    }
  }

  bool columns_;
  std::int64_t width_, run_;
  std::int64_t offset_;
  std::int64_t column_ = 0, first_ = 0;
};

}  // namespace edgeqat::cpu
