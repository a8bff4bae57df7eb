// SPDX-License-Identifier: Apache-2.0
// The table of kernel variants, one row per instruction set.
#include "cpu/isa_table.h"

#include "cpu/entries.h"

namespace edgeqat::cpu {
namespace {

constexpr KernelTable kTable[] = {
    {
        .isa = Isa::kBaseline,
        .fake_quantize = fake_quantize_baseline,
        .fake_quantize_backward = fake_quantize_backward_baseline,
        .quantize = quantize_baseline,
        .dequantize = dequantize_baseline,
        .observe_minmax = observe_minmax_baseline,
        .observe_fake_quantize = observe_fake_quantize_baseline,
        .lsq_train = lsq_train_baseline,
        .lsq_backward = lsq_backward_baseline,
        .lsq_compact_backward = lsq_compact_backward_baseline,
        .oscillation_update = oscillation_update_baseline,
        .reduce_magnitudes = reduce_magnitudes_baseline,
        .ternary_fake_quantize = ternary_fake_quantize_baseline,
        .dorefa_fake_quantize = dorefa_fake_quantize_baseline,
        .dorefa_fake_quantize_backward = dorefa_fake_quantize_backward_baseline,
        .per_token_fake_quantize = per_token_fake_quantize_baseline,
    },
#if EDGEQAT_X86
    {
        .isa = Isa::kV3,
        .fake_quantize = fake_quantize_v3,
        .fake_quantize_backward = fake_quantize_backward_v3,
        .quantize = quantize_v3,
        .dequantize = dequantize_v3,
        .observe_minmax = observe_minmax_v3,
        .observe_fake_quantize = observe_fake_quantize_v3,
        .lsq_train = lsq_train_v3,
        .lsq_backward = lsq_backward_v3,
        .lsq_compact_backward = lsq_compact_backward_v3,
        .oscillation_update = oscillation_update_v3,
        .reduce_magnitudes = reduce_magnitudes_v3,
        .ternary_fake_quantize = ternary_fake_quantize_v3,
        .dorefa_fake_quantize = dorefa_fake_quantize_v3,
        .dorefa_fake_quantize_backward = dorefa_fake_quantize_backward_v3,
        .per_token_fake_quantize = per_token_fake_quantize_v3,
    },
    {
        .isa = Isa::kV4,
        .fake_quantize = fake_quantize_v4,
        .fake_quantize_backward = fake_quantize_backward_v4,
        .quantize = quantize_v4,
        .dequantize = dequantize_v4,
        .observe_minmax = observe_minmax_v4,
        .observe_fake_quantize = observe_fake_quantize_v4,
        .lsq_train = lsq_train_v4,
        .lsq_backward = lsq_backward_v4,
        .lsq_compact_backward = lsq_compact_backward_v4,
        .oscillation_update = oscillation_update_v4,
        .reduce_magnitudes = reduce_magnitudes_v4,
        .ternary_fake_quantize = ternary_fake_quantize_v4,
        .dorefa_fake_quantize = dorefa_fake_quantize_v4,
        .dorefa_fake_quantize_backward = dorefa_fake_quantize_backward_v4,
        .per_token_fake_quantize = per_token_fake_quantize_v4,
    },
#endif
};

}  // namespace

std::span<const KernelTable> AllKernels() { return kTable; }

const KernelTable& KernelsFor(Isa isa) {
  for (const KernelTable& row : kTable) {
    if (row.isa == isa) return row;
  }
  return kTable[0];
}

const KernelTable& ActiveKernels() {
  static const KernelTable& active = KernelsFor(ActiveIsa());
  return active;
}

}  // namespace edgeqat::cpu
