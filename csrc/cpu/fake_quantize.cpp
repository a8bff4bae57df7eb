// SPDX-License-Identifier: Apache-2.0
// fake_quantize and fake_quantize_backward: one entry per instruction set, and the public
// functions.
#include "edgeqat/fake_quantize.h"

#include "cpu/chunks.h"
#include "cpu/entries.h"
#include "cpu/fake_quantize-inl.h"
#include "cpu/isa_table.h"

namespace edgeqat {
namespace cpu {

void fake_quantize_baseline(const FakeQuantizeArgs& args, I64 begin, I64 end) {
  FakeQuantizeBody(args, begin, end);
}
void fake_quantize_backward_baseline(const FakeQuantizeBackwardArgs& args, I64 begin, I64 end) {
  FakeQuantizeBackwardBody(args, begin, end);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 void fake_quantize_v3(const FakeQuantizeArgs& args, I64 begin, I64 end) {
  FakeQuantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void fake_quantize_v4(const FakeQuantizeArgs& args, I64 begin, I64 end) {
  FakeQuantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V3 void fake_quantize_backward_v3(const FakeQuantizeBackwardArgs& args, I64 begin,
                                                 I64 end) {
  FakeQuantizeBackwardBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void fake_quantize_backward_v4(const FakeQuantizeBackwardArgs& args, I64 begin,
                                                 I64 end) {
  FakeQuantizeBackwardBody(args, begin, end);
}
#endif

}  // namespace cpu

void fake_quantize(const FakeQuantizeArgs& args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().fake_quantize;
  cpu::ForChunks(args.layout.numel(), pool,
                 [&](cpu::I64 begin, cpu::I64 end) { kernel(args, begin, end); });
}

void fake_quantize_backward(const FakeQuantizeBackwardArgs& args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().fake_quantize_backward;
  cpu::ForChunks(args.numel, pool, [&](cpu::I64 begin, cpu::I64 end) { kernel(args, begin, end); });
}

}  // namespace edgeqat
