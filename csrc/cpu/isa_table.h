// SPDX-License-Identifier: Apache-2.0
// The one table of kernel variants: the driver, the tests and the benchmarks all iterate it.
#pragma once

#include <cstdint>
#include <span>

#include "cpu/target.h"
#include "edgeqat/fake_quantize.h"
#include "edgeqat/isa.h"
#include "edgeqat/observer.h"
#include "edgeqat/oscillation.h"
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
  void (*oscillation_update)(const OscillationUpdateArgs& args, std::int64_t begin,
                             std::int64_t end);
};

// Every variant of this build, whether this CPU can run it or not, slowest first.
[[nodiscard]] std::span<const KernelTable> AllKernels();

// The variant for one instruction set; the caller has checked that the CPU can run it.
[[nodiscard]] const KernelTable& KernelsFor(Isa isa);

// The variant in use.
[[nodiscard]] const KernelTable& ActiveKernels();

}  // namespace edgeqat::cpu
