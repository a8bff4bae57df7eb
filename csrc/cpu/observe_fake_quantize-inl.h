// SPDX-License-Identifier: Apache-2.0
// The loop of observe_fake_quantize: each block is observed and quantized while it lies in the
// first-level cache; contract in edgeqat/observe_fake_quantize.h.
#pragma once

#include "cpu/fake_quantize-inl.h"
#include "cpu/observer-inl.h"

namespace edgeqat::cpu {

// Sees every block of fake_quantize before it is quantized.
template <int kLanes>
struct BlockObserver {
  SegmentCursor cursor;
  std::int64_t width;
  std::int32_t* min_keys;
  std::int32_t* max_keys;
  std::int64_t non_finite = 0;

  EDGEQAT_ALWAYS_INLINE void operator()(const float* x, const std::uint8_t* mask,
                                        std::int64_t count, const ActivationClamp& clamp) {
    alignas(64) float kept[kBlock];
    if (mask != nullptr) {
      non_finite -= HidePruned(x, mask, count, kept);
      x = kept;
    }
    non_finite +=
        clamp.active
            ? ObserveBlock<kLanes, true>(x, count, clamp.top, width, cursor, min_keys, max_keys)
            : ObserveBlock<kLanes, false>(x, count, clamp.top, width, cursor, min_keys, max_keys);
  }
};

template <int kLanes>
EDGEQAT_ALWAYS_INLINE std::int64_t ObserveFakeQuantizeBody(const FakeQuantizeArgs& args,
                                                           std::int64_t begin, std::int64_t end,
                                                           std::int32_t* min_keys,
                                                           std::int32_t* max_keys) {
  BlockObserver<kLanes> observer = {SegmentCursor(args.layout, begin), args.layout.width, min_keys,
                                    max_keys};
  switch (args.dtype) {
    case FloatType::kFloat32:
      FakeQuantizeRange<float, true>(args, begin, end, observer);
      break;
    case FloatType::kFloat16:
      FakeQuantizeRange<Float16, true>(args, begin, end, observer);
      break;
    case FloatType::kBFloat16:
      FakeQuantizeRange<BFloat16, true>(args, begin, end, observer);
      break;
  }
  return observer.non_finite;
}

}  // namespace edgeqat::cpu
