// SPDX-License-Identifier: Apache-2.0
// lsq_fake_quantize and its backward passes: one entry per instruction set, and the public
// functions.
#include "cpu/lsq_fake_quantize.h"

#include <vector>

#include "cpu/chunks.h"
#include "cpu/entries.h"
#include "cpu/gradient_sums.h"
#include "cpu/isa_table.h"
#include "cpu/lsq_fake_quantize-inl.h"

namespace edgeqat {
namespace cpu {

void lsq_train_baseline(const LsqTrainArgs& args, I64 begin, I64 end) {
  LsqTrainBody(args, begin, end);
}
void lsq_backward_baseline(const LsqBackwardArgs& args, I64 begin, I64 end, double* step_sums,
                           double* offset_sums) {
  LsqBackwardBody(args, begin, end, step_sums, offset_sums);
}
void lsq_compact_backward_baseline(const LsqBackwardArgs& args, I64 begin, I64 end,
                                   double* step_sums, double* offset_sums) {
  LsqCompactBackwardBody(args, begin, end, step_sums, offset_sums);
}
#if EDGEQAT_X86
EDGEQAT_TARGET_V3 void lsq_train_v3(const LsqTrainArgs& args, I64 begin, I64 end) {
  LsqTrainBody(args, begin, end);
}
EDGEQAT_TARGET_V4 void lsq_train_v4(const LsqTrainArgs& args, I64 begin, I64 end) {
  LsqTrainBody(args, begin, end);
}
EDGEQAT_TARGET_V3 void lsq_backward_v3(const LsqBackwardArgs& args, I64 begin, I64 end,
                                       double* step_sums, double* offset_sums) {
  LsqBackwardBody(args, begin, end, step_sums, offset_sums);
}
EDGEQAT_TARGET_V4 void lsq_backward_v4(const LsqBackwardArgs& args, I64 begin, I64 end,
                                       double* step_sums, double* offset_sums) {
  LsqBackwardBody(args, begin, end, step_sums, offset_sums);
}
EDGEQAT_TARGET_V3 void lsq_compact_backward_v3(const LsqBackwardArgs& args, I64 begin, I64 end,
                                               double* step_sums, double* offset_sums) {
  LsqCompactBackwardBody(args, begin, end, step_sums, offset_sums);
}
EDGEQAT_TARGET_V4 void lsq_compact_backward_v4(const LsqBackwardArgs& args, I64 begin, I64 end,
                                               double* step_sums, double* offset_sums) {
  LsqCompactBackwardBody(args, begin, end, step_sums, offset_sums);
}
#endif

LearnedGrid::LearnedGrid(const float* scale, const float* offset, I64 count, std::int32_t qmin,
                         std::int32_t qmax, StepRule rule)
    : step(static_cast<std::size_t>(count)), zero_point(step.size(), 0) {
  for (std::size_t i = 0; i < step.size(); ++i) {
    step[i] = LearnedStep(scale[i], qmin, qmax, rule);
    if (offset != nullptr) zero_point[i] = LearnedZeroPoint(offset[i], step[i], qmin, qmax);
  }
}

LsqTrainArgs TrainArgs(const LsqFakeQuantizeArgs& args, const LearnedGrid& grid) {
  return {.grid = {.dtype = args.dtype,
                   .layout = args.layout,
                   .x = args.x,
                   .scale = grid.step.data(),
                   .zero_point = grid.zero_point.data(),
                   .qmin = args.qmin,
                   .qmax = args.qmax,
                   .mask = args.mask,
                   .y = args.y,
                   .activation = args.activation},
          .residual = args.residual};
}

LsqBackwardArgs BackwardArgs(const LsqFakeQuantizeBackwardArgs& args, const LearnedGrid& grid) {
  return {.dtype = args.dtype,
          .layout = args.layout,
          .grad = args.grad,
          .x = args.x,
          .residual = args.residual,
          .step = grid.step.data(),
          .zero_point = grid.zero_point.data(),
          .qmin = args.qmin,
          .qmax = args.qmax,
          .activation = args.activation,
          .mask = args.mask,
          .residual_weight = args.rule == StepRule::kPact ? 0.0F : 1.0F,
          .delta = args.delta / static_cast<float>(args.qmax - args.qmin),
          .damping = 2.0F * args.damping,
          .grad_x = args.grad_x};
}

namespace {

using BackwardKernel = void (*)(const LsqBackwardArgs& args, I64 begin, I64 end, double* step_sums,
                                double* offset_sums);

void RunBackward(BackwardKernel kernel, const LsqFakeQuantizeBackwardArgs& args,
                 const ParallelFor& pool) {
  const I64 scales = args.layout.num_scales();
  const LearnedGrid grid(args.scale, args.offset, scales, args.qmin, args.qmax, args.rule);
  const LsqBackwardArgs kernel_args = BackwardArgs(args, grid);
  const SumPieces pieces(args.layout);
  const bool with_offset = args.offset != nullptr;
  std::vector<double> step_sums(static_cast<std::size_t>(pieces.num_sums()));
  std::vector<double> offset_sums(with_offset ? step_sums.size() : 0);
  const auto run = [&](I64 first, I64 last) {
    for (I64 i = first; i < last; ++i) {
      const SumPieces::Piece piece = pieces.piece(i);
      kernel(kernel_args, piece.begin, piece.end, step_sums.data() + piece.first_sum,
             with_offset ? offset_sums.data() + piece.first_sum : nullptr);
    }
  };
  if (pieces.count() <= 1 || !pool) {
    run(0, pieces.count());
  } else {
    pool(pieces.count(), run);
  }
  std::vector<double> totals;
  pieces.Combine(step_sums, totals);
  for (I64 i = 0; i < scales; ++i) {
    const double slope = LearnedStepSlope(args.scale[i], args.qmin, args.qmax, args.rule);
    args.grad_scale[i] =
        static_cast<float>(totals[static_cast<std::size_t>(i)] * slope * args.grad_factor);
  }
  if (!with_offset) return;
  pieces.Combine(offset_sums, totals);
  for (I64 i = 0; i < scales; ++i) {
    args.grad_offset[i] =
        static_cast<float>(totals[static_cast<std::size_t>(i)] * args.grad_factor);
  }
}

}  // namespace
}  // namespace cpu

void learned_step(const LearnedStepArgs& args) {
  for (std::int64_t i = 0; i < args.count; ++i) {
    args.step[i] = LearnedStep(args.scale[i], args.qmin, args.qmax, args.rule);
  }
}

void lsq_fake_quantize(const LsqFakeQuantizeArgs& args, const ParallelFor& pool) {
  const cpu::LearnedGrid grid(args.scale, args.offset, args.layout.num_scales(), args.qmin,
                              args.qmax, args.rule);
  const cpu::LsqTrainArgs train = cpu::TrainArgs(args, grid);
  if (args.residual == nullptr) return fake_quantize(train.grid, pool);
  const auto kernel = cpu::ActiveKernels().lsq_train;
  cpu::ForChunks(args.layout.numel(), pool,
                 [&](cpu::I64 begin, cpu::I64 end) { kernel(train, begin, end); });
}

void lsq_fake_quantize_backward(const LsqFakeQuantizeBackwardArgs& args, const ParallelFor& pool) {
  cpu::RunBackward(cpu::ActiveKernels().lsq_backward, args, pool);
}

void lsq_fake_quantize_compact_backward(const LsqFakeQuantizeBackwardArgs& args,
                                        const ParallelFor& pool) {
  cpu::RunBackward(cpu::ActiveKernels().lsq_compact_backward, args, pool);
}

}  // namespace edgeqat
