// SPDX-License-Identifier: Apache-2.0
// Scalar oracles of lsq_fake_quantize and its backward passes: one element at a time, sums in
// double.
#pragma once

#include "edgeqat/lsq_fake_quantize.h"

namespace edgeqat::reference {

void learned_step_ref(const LearnedStepArgs& args);
void lsq_fake_quantize_ref(const LsqFakeQuantizeArgs& args);
void lsq_fake_quantize_backward_ref(const LsqFakeQuantizeBackwardArgs& args);
void lsq_fake_quantize_compact_backward_ref(const LsqFakeQuantizeBackwardArgs& args);
void lsq_fake_quantize_multi_ref(std::span<const LsqFakeQuantizeArgs> args);
void lsq_fake_quantize_multi_backward_ref(std::span<const LsqFakeQuantizeBackwardArgs> args);

}  // namespace edgeqat::reference
