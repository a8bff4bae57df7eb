// SPDX-License-Identifier: Apache-2.0
// Launchers of lsq_fake_quantize and its backward passes.
//
// They take the argument structs of the CPU kernels, whose header states the numerics; here every
// pointer is device memory. Conditions on streams as in cuda/fake_quantize.h. Values, residuals and
// gradients of x are the CPU's bits; sums are the same on every device and agree with the CPU's to
// float32 rounding. Scales and offsets are not looked at: NaN counts as the smallest step and as
// offset 0.
#pragma once

#include <span>

#include "cuda/stream.h"
#include "cuda/sum_plan.h"
#include "edgeqat/lsq_fake_quantize.h"

namespace edgeqat::cuda {

void learned_step(const LearnedStepArgs& args, cudaStream_t stream);

// lsq_fake_quantize_train is the call with args.residual set.
void lsq_fake_quantize(const LsqFakeQuantizeArgs& args, cudaStream_t stream);

// `workspace`: PlanSums(args.layout).workspace_bytes(), 16-byte aligned.
void lsq_fake_quantize_backward(const LsqFakeQuantizeBackwardArgs& args, void* workspace,
                                cudaStream_t stream);
void lsq_fake_quantize_compact_backward(const LsqFakeQuantizeBackwardArgs& args, void* workspace,
                                        cudaStream_t stream);

// One tensor after the other on the stream; the backward passes share one workspace, as large as
// the largest needs.
void lsq_fake_quantize_multi(std::span<const LsqFakeQuantizeArgs> args, cudaStream_t stream);
void lsq_fake_quantize_multi_backward(std::span<const LsqFakeQuantizeBackwardArgs> args,
                                      void* workspace, cudaStream_t stream);

}  // namespace edgeqat::cuda
