// SPDX-License-Identifier: Apache-2.0
// oscillation_update: one entry per instruction set, and the public function.
#include "edgeqat/oscillation.h"

#include "cpu/chunks.h"
#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/oscillation-inl.h"

namespace edgeqat {
namespace cpu {

void oscillation_update_baseline(const OscillationUpdateArgs& args, I64 begin, I64 end) {
  OscillationUpdateBody(args, begin, end);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 void oscillation_update_v3(const OscillationUpdateArgs& args, I64 begin,
                                             I64 end) {
  OscillationUpdateBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void oscillation_update_v4(const OscillationUpdateArgs& args, I64 begin,
                                             I64 end) {
  OscillationUpdateBody(args, begin, end);
}
#endif

}  // namespace cpu

void oscillation_update(const OscillationUpdateArgs& args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().oscillation_update;
  cpu::ForChunks(args.layout.numel(), pool,
                 [&](cpu::I64 begin, cpu::I64 end) { kernel(args, begin, end); });
}

}  // namespace edgeqat
