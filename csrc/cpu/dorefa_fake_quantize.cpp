// SPDX-License-Identifier: Apache-2.0
// dorefa_fake_quantize and its backward: one entry per instruction set, and the public functions.
#include "edgeqat/dorefa_fake_quantize.h"

#include <cstddef>
#include <vector>

#include "cpu/chunks.h"
#include "cpu/dorefa_fake_quantize-inl.h"
#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/magnitude.h"

namespace edgeqat {
namespace cpu {

void dorefa_fake_quantize_baseline(const DorefaApplyArgs& args, I64 begin, I64 end) {
  DorefaFakeQuantizeBody(args, begin, end);
}
void dorefa_fake_quantize_backward_baseline(const DorefaBackwardApplyArgs& args, I64 begin,
                                            I64 end) {
  DorefaFakeQuantizeBackwardBody(args, begin, end);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 void dorefa_fake_quantize_v3(const DorefaApplyArgs& args, I64 begin, I64 end) {
  DorefaFakeQuantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void dorefa_fake_quantize_v4(const DorefaApplyArgs& args, I64 begin, I64 end) {
  DorefaFakeQuantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V3 void dorefa_fake_quantize_backward_v3(const DorefaBackwardApplyArgs& args,
                                                        I64 begin, I64 end) {
  DorefaFakeQuantizeBackwardBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void dorefa_fake_quantize_backward_v4(const DorefaBackwardApplyArgs& args,
                                                        I64 begin, I64 end) {
  DorefaFakeQuantizeBackwardBody(args, begin, end);
}
#endif

namespace {

std::vector<float> Divisors(const MagnitudeArgs& args, const ParallelFor& pool) {
  const std::vector<MagnitudeSums> found = ReduceMagnitudes(args, pool);
  std::vector<float> divisor(found.size());
  for (std::size_t s = 0; s < found.size(); ++s) divisor[s] = DorefaDivisor(found[s].max);
  return divisor;
}

}  // namespace
}  // namespace cpu

void dorefa_fake_quantize(const DorefaFakeQuantizeArgs& args, const ParallelFor& pool) {
  const std::vector<float> divisor = cpu::Divisors(
      {.dtype = args.dtype, .layout = args.layout, .x = args.x, .mask = args.mask}, pool);
  const auto kernel = cpu::ActiveKernels().dorefa_fake_quantize;
  const cpu::DorefaApplyArgs apply = {args, divisor.data()};
  cpu::ForChunks(args.layout.numel(), pool,
                 [&](cpu::I64 begin, cpu::I64 end) { kernel(apply, begin, end); });
}

void dorefa_fake_quantize_backward(const DorefaFakeQuantizeBackwardArgs& args,
                                   const ParallelFor& pool) {
  const std::vector<float> divisor = cpu::Divisors(
      {.dtype = args.dtype, .layout = args.layout, .x = args.x, .mask = args.mask}, pool);
  const auto kernel = cpu::ActiveKernels().dorefa_fake_quantize_backward;
  const cpu::DorefaBackwardApplyArgs apply = {args, divisor.data()};
  cpu::ForChunks(args.layout.numel(), pool,
                 [&](cpu::I64 begin, cpu::I64 end) { kernel(apply, begin, end); });
}

}  // namespace edgeqat
