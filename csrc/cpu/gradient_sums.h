// SPDX-License-Identifier: Apache-2.0
// Sums over the elements of each scale: how a tensor is cut into pieces, and how the pieces' sums
// are put together, so that the result depends on the tensor's shape and nothing else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/chunks.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::cpu {

// A run is the rows * width consecutive elements of one channel. Short runs: a piece is several
// whole runs. Long runs: a piece is some rows of one run. A piece has `width` sums for each run
// that it touches. At least 16 rows, so that all sums together take half of x's memory at most
// (width 32768 and more would otherwise leave one sum for each element).
class SumPieces {
 public:
  explicit SumPieces(const QuantLayout& layout) {
    // neighbours of different channels are columns in disguise: one sum for each, not for each run
    const bool columns = layout.rows == 1 && layout.width == 1;
    width_ = columns ? layout.channels : layout.width;
    channels_ = columns ? 1 : layout.channels;
    rows_ = columns ? layout.outer : layout.rows;
    runs_ = columns ? 1 : layout.outer * layout.channels;
    if (runs_ * rows_ * width_ == 0) return;
    const std::int64_t run = rows_ * width_;
    if (run <= kChunk) {
      rows_per_piece_ = rows_;
      runs_per_piece_ = kChunk / run;
    } else {
      rows_per_piece_ =
          std::min(rows_, std::max(width_ == 1 ? kChunk : kFewestRows, kChunk / width_));
    }
    parts_ = (rows_ + rows_per_piece_ - 1) / rows_per_piece_;
    pieces_ = parts_ > 1 ? runs_ * parts_ : (runs_ + runs_per_piece_ - 1) / runs_per_piece_;
  }

  [[nodiscard]] std::int64_t count() const { return pieces_; }
  [[nodiscard]] std::int64_t num_sums() const { return runs_ * parts_ * width_; }

  struct Piece {
    std::int64_t begin, end;  // elements
    std::int64_t first_sum;   // of the piece's sums, in [0, num_sums())
  };
  [[nodiscard]] Piece piece(std::int64_t i) const {
    const std::int64_t run = rows_ * width_;
    if (parts_ == 1) {
      const std::int64_t first = i * runs_per_piece_;
      return {first * run, std::min(runs_, first + runs_per_piece_) * run, first * width_};
    }
    const std::int64_t start = i / parts_ * run;
    const std::int64_t row = i % parts_ * rows_per_piece_;
    return {start + row * width_, start + std::min(rows_, row + rows_per_piece_) * width_,
            i * width_};
  }

  // totals[scale] of channels * width: the sums of its runs and their parts, in that order.
  void Combine(const std::vector<double>& sums, std::vector<double>& totals) const {
    totals.assign(static_cast<std::size_t>(channels_ * width_), 0.0);
    for (std::int64_t i = 0; i < runs_ * parts_; ++i) {
      double* const total = totals.data() + i / parts_ % channels_ * width_;
      for (std::int64_t column = 0; column < width_; ++column) {
        total[column] += sums[static_cast<std::size_t>(i * width_ + column)];
      }
    }
  }

 private:
  static constexpr std::int64_t kFewestRows = 16;

  std::int64_t width_ = 1, channels_ = 1, rows_ = 0, runs_ = 0;
  std::int64_t rows_per_piece_ = 1, runs_per_piece_ = 1, parts_ = 0, pieces_ = 0;
};

}  // namespace edgeqat::cpu
