// SPDX-License-Identifier: Apache-2.0
// observe_fake_quantize: one entry per instruction set, and the public function.
#include "edgeqat/observe_fake_quantize.h"

#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/observe_chunks.h"
#include "cpu/observe_fake_quantize-inl.h"

namespace edgeqat {
namespace cpu {

I64 observe_fake_quantize_baseline(const FakeQuantizeArgs& args, I64 begin, I64 end,
                                   std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveFakeQuantizeBody<4>(args, begin, end, min_keys, max_keys);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 I64 observe_fake_quantize_v3(const FakeQuantizeArgs& args, I64 begin, I64 end,
                                               std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveFakeQuantizeBody<8>(args, begin, end, min_keys, max_keys);
}
EDGEQAT_TARGET_V4 I64 observe_fake_quantize_v4(const FakeQuantizeArgs& args, I64 begin, I64 end,
                                               std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveFakeQuantizeBody<16>(args, begin, end, min_keys, max_keys);
}
#endif

}  // namespace cpu

std::int64_t observe_fake_quantize(const ObserveFakeQuantizeArgs& args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().observe_fake_quantize;
  return cpu::ObserveChunks(
      args.quantize.layout, args.min, args.max, pool,
      [&](cpu::I64 begin, cpu::I64 end, std::int32_t* low, std::int32_t* high) {
        return kernel(args.quantize, begin, end, low, high);
      });
}

}  // namespace edgeqat
