// SPDX-License-Identifier: Apache-2.0
// per_token_fake_quantize: one entry per instruction set, and the public function.
#include "edgeqat/per_token_fake_quantize.h"

#include <algorithm>

#include "cpu/chunks.h"
#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/per_token_fake_quantize-inl.h"

namespace edgeqat {
namespace cpu {

void per_token_fake_quantize_baseline(const PerTokenFakeQuantizeArgs& args, I64 begin, I64 end) {
  PerTokenFakeQuantizeBody(args, begin, end);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 void per_token_fake_quantize_v3(const PerTokenFakeQuantizeArgs& args, I64 begin,
                                                  I64 end) {
  PerTokenFakeQuantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void per_token_fake_quantize_v4(const PerTokenFakeQuantizeArgs& args, I64 begin,
                                                  I64 end) {
  PerTokenFakeQuantizeBody(args, begin, end);
}
#endif

}  // namespace cpu

void per_token_fake_quantize(const PerTokenFakeQuantizeArgs& args, const ParallelFor& pool) {
  if (args.rows <= 0 || args.width <= 0) return;
  const auto kernel = cpu::ActiveKernels().per_token_fake_quantize;
  // rows are not divided: pieces of about a chunk's elements, at least one row
  const std::int64_t rows = std::max<std::int64_t>(1, cpu::kChunk / args.width);
  const std::int64_t pieces = (args.rows + rows - 1) / rows;
  const auto run = [&](std::int64_t first, std::int64_t last) {
    kernel(args, first * rows, std::min(args.rows, last * rows));
  };
  if (pieces == 1 || !pool) {
    run(0, pieces);
  } else {
    pool(pieces, run);
  }
}

}  // namespace edgeqat
