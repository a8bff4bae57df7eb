// SPDX-License-Identifier: Apache-2.0
// quantize and dequantize: one entry per instruction set, and the public functions.
#include "edgeqat/quantize.h"

#include "cpu/chunks.h"
#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/quantize-inl.h"

namespace edgeqat {
namespace cpu {

void quantize_baseline(const QuantizeArgs& args, I64 begin, I64 end) {
  QuantizeBody(args, begin, end);
}
void dequantize_baseline(const DequantizeArgs& args, I64 begin, I64 end) {
  DequantizeBody(args, begin, end);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 void quantize_v3(const QuantizeArgs& args, I64 begin, I64 end) {
  QuantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void quantize_v4(const QuantizeArgs& args, I64 begin, I64 end) {
  QuantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V3 void dequantize_v3(const DequantizeArgs& args, I64 begin, I64 end) {
  DequantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void dequantize_v4(const DequantizeArgs& args, I64 begin, I64 end) {
  DequantizeBody(args, begin, end);
}
#endif

}  // namespace cpu

void quantize(const QuantizeArgs& args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().quantize;
  cpu::ForChunks(args.layout.numel(), pool,
                 [&](cpu::I64 begin, cpu::I64 end) { kernel(args, begin, end); });
}

void dequantize(const DequantizeArgs& args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().dequantize;
  cpu::ForChunks(args.layout.numel(), pool,
                 [&](cpu::I64 begin, cpu::I64 end) { kernel(args, begin, end); });
}

}  // namespace edgeqat
