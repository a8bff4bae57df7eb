// SPDX-License-Identifier: Apache-2.0
// The magnitude reduction: one entry per instruction set, and the function that adds up the pieces.
#include "cpu/magnitude.h"

#include <algorithm>
#include <cstddef>

#include "cpu/chunks.h"
#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/magnitude-inl.h"

namespace edgeqat::cpu {

void reduce_magnitudes_baseline(const MagnitudeArgs& args, I64 begin, I64 end,
                                MagnitudeSums* units) {
  ReduceMagnitudesBody(args, begin, end, units);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 void reduce_magnitudes_v3(const MagnitudeArgs& args, I64 begin, I64 end,
                                            MagnitudeSums* units) {
  ReduceMagnitudesBody(args, begin, end, units);
}
EDGEQAT_TARGET_V4 void reduce_magnitudes_v4(const MagnitudeArgs& args, I64 begin, I64 end,
                                            MagnitudeSums* units) {
  ReduceMagnitudesBody(args, begin, end, units);
}
#endif

std::vector<MagnitudeSums> ReduceMagnitudes(const MagnitudeArgs& args, const ParallelFor& pool) {
  const auto kernel = ActiveKernels().reduce_magnitudes;
  const I64 scales = args.layout.num_scales();
  const I64 pieces = PiecesPerScale(args.layout);
  const I64 count = scales * pieces;
  std::vector<MagnitudeSums> units(static_cast<std::size_t>(count));
  std::vector<MagnitudeSums> totals(static_cast<std::size_t>(scales));
  if (count == 0) return totals;
  // tasks of about a chunk's elements
  const I64 elements = std::min(kMagnitudePiece, ElementsPerScale(args.layout));
  const I64 step = std::max<I64>(1, kChunk / elements);
  const I64 tasks = (count + step - 1) / step;
  const auto run = [&](I64 first, I64 last) {
    kernel(args, first * step, std::min(count, last * step), units.data());
  };
  if (tasks == 1 || !pool) {
    run(0, tasks);
  } else {
    pool(tasks, run);
  }
  for (I64 u = 0; u < count; ++u) {
    const MagnitudeSums& unit = units[static_cast<std::size_t>(u)];
    MagnitudeSums& total = totals[static_cast<std::size_t>(u / pieces)];
    total.sum += unit.sum;
    total.count += unit.count;
    total.max = std::max(total.max, unit.max);
  }
  return totals;
}

}  // namespace edgeqat::cpu
