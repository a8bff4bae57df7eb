// SPDX-License-Identifier: Apache-2.0
// observe_minmax: one entry per instruction set, and the public function.
#include "edgeqat/observer.h"

#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/observe_chunks.h"
#include "cpu/observer-inl.h"

namespace edgeqat {
namespace cpu {

I64 observe_minmax_baseline(const ObserveMinmaxArgs& args, I64 begin, I64 end,
                            std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveMinmaxBody<4>(args, begin, end, min_keys, max_keys);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 I64 observe_minmax_v3(const ObserveMinmaxArgs& args, I64 begin, I64 end,
                                        std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveMinmaxBody<8>(args, begin, end, min_keys, max_keys);
}
EDGEQAT_TARGET_V4 I64 observe_minmax_v4(const ObserveMinmaxArgs& args, I64 begin, I64 end,
                                        std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveMinmaxBody<16>(args, begin, end, min_keys, max_keys);
}
#endif

}  // namespace cpu

std::int64_t observe_minmax(const ObserveMinmaxArgs& args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().observe_minmax;
  return cpu::ObserveChunks(
      args.layout, args.min, args.max, pool,
      [&](cpu::I64 begin, cpu::I64 end, std::int32_t* low, std::int32_t* high) {
        return kernel(args, begin, end, low, high);
      });
}

}  // namespace edgeqat
