// SPDX-License-Identifier: Apache-2.0
// observe_minmax: one entry per instruction set, and the public function that merges the threads'
// results.
#include "edgeqat/observer.h"

#include <atomic>
#include <bit>
#include <mutex>
#include <vector>

#include "cpu/chunks.h"
#include "cpu/entries.h"
#include "cpu/isa_table.h"
#include "cpu/observer-inl.h"

namespace edgeqat {
namespace cpu {

I64 observe_minmax_baseline(const ObserveMinmaxArgs& args, I64 begin, I64 end,
                            std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveMinmaxBody(args, begin, end, min_keys, max_keys);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 I64 observe_minmax_v3(const ObserveMinmaxArgs& args, I64 begin, I64 end,
                                        std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveMinmaxBody(args, begin, end, min_keys, max_keys);
}
EDGEQAT_TARGET_V4 I64 observe_minmax_v4(const ObserveMinmaxArgs& args, I64 begin, I64 end,
                                        std::int32_t* min_keys, std::int32_t* max_keys) {
  return ObserveMinmaxBody(args, begin, end, min_keys, max_keys);
}
#endif

}  // namespace cpu

namespace {

// Adding +0 turns -0 into +0: which of the two comes first must not show in the state.
float FromKey(std::int32_t key) { return std::bit_cast<float>(cpu::OrderKey(key)) + 0.0F; }

}  // namespace

std::int64_t observe_minmax(const ObserveMinmaxArgs& args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().observe_minmax;
  const std::int64_t channels = args.layout.num_scales();
  std::vector<std::int32_t> min_keys(channels, cpu::kInfKey);
  std::vector<std::int32_t> max_keys(channels, cpu::kNegInfKey);
  std::atomic<std::int64_t> non_finite = 0;
  std::mutex merge;
  cpu::ForChunks(args.layout.numel(), pool, [&](cpu::I64 begin, cpu::I64 end) {
    if (end - begin == args.layout.numel()) {
      non_finite += kernel(args, begin, end, min_keys.data(), max_keys.data());
      return;
    }
    // one private copy for each piece a thread takes, merged in any order: min and max commute
    std::vector<std::int32_t> low(channels, cpu::kInfKey);
    std::vector<std::int32_t> high(channels, cpu::kNegInfKey);
    non_finite += kernel(args, begin, end, low.data(), high.data());
    const std::lock_guard lock(merge);
    for (std::int64_t c = 0; c < channels; ++c) {
      min_keys[c] = std::min(min_keys[c], low[c]);
      max_keys[c] = std::max(max_keys[c], high[c]);
    }
  });
  for (std::int64_t c = 0; c < channels; ++c) {
    args.min[c] = FromKey(min_keys[c]);
    args.max[c] = FromKey(max_keys[c]);
  }
  return non_finite;
}

}  // namespace edgeqat
