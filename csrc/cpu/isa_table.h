// SPDX-License-Identifier: Apache-2.0
// The one table of kernel variants: the driver, the tests and the benchmarks all iterate it.
#pragma once

#include <cstdint>
#include <span>

#include "core/magnitude.h"
#include "cpu/dorefa_fake_quantize.h"
#include "cpu/lsq_fake_quantize.h"
#include "cpu/target.h"
#include "cpu/ternary_fake_quantize.h"
#include "edgeqat/fake_quantize.h"
#include "edgeqat/isa.h"
#include "edgeqat/observer.h"
#include "edgeqat/oscillation.h"
#include "edgeqat/per_token_fake_quantize.h"
#include "edgeqat/quantize.h"

namespace edgeqat::cpu {

// Every kernel works on the elements [begin, end) of the flattened tensor; begin is a multiple of
// 8, and end is one too unless it is the last element, so that no byte of bits is shared between
// two calls.
struct KernelTable {
  Isa isa;
  void (*fake_quantize)(const FakeQuantizeArgs& args, std::int64_t begin, std::int64_t end);
  void (*fake_quantize_backward)(const FakeQuantizeBackwardArgs& args, std::int64_t begin,
                                 std::int64_t end);
  void (*quantize)(const QuantizeArgs& args, std::int64_t begin, std::int64_t end);
  void (*dequantize)(const DequantizeArgs& args, std::int64_t begin, std::int64_t end);
  // Takes the elements into min_keys, max_keys (OrderKey in observer-inl.h) of layout.num_scales()
  // channels, which the caller has started; returns the number of non-finite values.
  std::int64_t (*observe_minmax)(const ObserveMinmaxArgs& args, std::int64_t begin,
                                 std::int64_t end, std::int32_t* min_keys, std::int32_t* max_keys);
  // fake_quantize with bits, and observe_minmax of the activated values, of the same elements.
  std::int64_t (*observe_fake_quantize)(const FakeQuantizeArgs& args, std::int64_t begin,
                                        std::int64_t end, std::int32_t* min_keys,
                                        std::int32_t* max_keys);
  void (*lsq_train)(const LsqTrainArgs& args, std::int64_t begin, std::int64_t end);
  // [begin, end) is a piece of SumPieces; its sums are added to step_sums and, if an offset is
  // learned, to offset_sums, else null.
  void (*lsq_backward)(const LsqBackwardArgs& args, std::int64_t begin, std::int64_t end,
                       double* step_sums, double* offset_sums);
  void (*lsq_compact_backward)(const LsqBackwardArgs& args, std::int64_t begin, std::int64_t end,
                               double* step_sums, double* offset_sums);
  void (*oscillation_update)(const OscillationUpdateArgs& args, std::int64_t begin,
                             std::int64_t end);
  // [begin, end) are units of core/magnitude.h.
  void (*reduce_magnitudes)(const MagnitudeArgs& args, std::int64_t begin, std::int64_t end,
                            MagnitudeSums* units);
  void (*ternary_fake_quantize)(const TernaryApplyArgs& args, std::int64_t begin, std::int64_t end);
  void (*dorefa_fake_quantize)(const DorefaApplyArgs& args, std::int64_t begin, std::int64_t end);
  void (*dorefa_fake_quantize_backward)(const DorefaBackwardApplyArgs& args, std::int64_t begin,
                                        std::int64_t end);
  // [begin, end) are rows here.
  void (*per_token_fake_quantize)(const PerTokenFakeQuantizeArgs& args, std::int64_t begin,
                                  std::int64_t end);
};

// Every variant of this build, whether this CPU can run it or not, slowest first.
[[nodiscard]] std::span<const KernelTable> AllKernels();

// The variant for one instruction set; the caller has checked that the CPU can run it.
[[nodiscard]] const KernelTable& KernelsFor(Isa isa);

// The variant in use.
[[nodiscard]] const KernelTable& ActiveKernels();

}  // namespace edgeqat::cpu
