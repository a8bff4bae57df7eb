// SPDX-License-Identifier: Apache-2.0
// ternary_fake_quantize: one entry per instruction set, and the public function.
#include "edgeqat/ternary_fake_quantize.h"

#include <cstddef>
#include <vector>

#include "cpu/chunks.h"
#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/magnitude.h"
#include "cpu/ternary_fake_quantize-inl.h"

namespace edgeqat {
namespace cpu {

void ternary_fake_quantize_baseline(const TernaryApplyArgs& args, I64 begin, I64 end) {
  TernaryFakeQuantizeBody(args, begin, end);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 void ternary_fake_quantize_v3(const TernaryApplyArgs& args, I64 begin, I64 end) {
  TernaryFakeQuantizeBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void ternary_fake_quantize_v4(const TernaryApplyArgs& args, I64 begin, I64 end) {
  TernaryFakeQuantizeBody(args, begin, end);
}
#endif

}  // namespace cpu

void ternary_fake_quantize(const TernaryFakeQuantizeArgs& args, const ParallelFor& pool) {
  MagnitudeArgs magnitudes = {
      .dtype = args.dtype, .layout = args.layout, .x = args.x, .mask = args.mask};
  std::vector<MagnitudeSums> found = cpu::ReduceMagnitudes(magnitudes, pool);
  std::vector<float> threshold(found.size());
  for (std::size_t s = 0; s < found.size(); ++s) threshold[s] = TernaryThreshold(found[s]);
  magnitudes.threshold = threshold.data();
  found = cpu::ReduceMagnitudes(magnitudes, pool);
  for (std::size_t s = 0; s < found.size(); ++s) {
    const TernaryScale chosen = ChooseTernaryScale(found[s], threshold[s]);
    args.scale[s] = chosen.scale;
    threshold[s] = chosen.threshold;
  }
  const auto kernel = cpu::ActiveKernels().ternary_fake_quantize;
  const cpu::TernaryApplyArgs apply = {args, threshold.data()};
  cpu::ForChunks(args.layout.numel(), pool,
                 [&](cpu::I64 begin, cpu::I64 end) { kernel(apply, begin, end); });
}

}  // namespace edgeqat
