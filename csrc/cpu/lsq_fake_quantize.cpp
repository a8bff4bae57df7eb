// SPDX-License-Identifier: Apache-2.0
// lsq_fake_quantize and its backward passes: one entry per instruction set, and the public
// functions.
#include "cpu/lsq_fake_quantize.h"

#include <algorithm>
#include <span>
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

// Runs body(tensor, piece) over the pieces of all tensors, counts[i] of tensor i.
template <typename Body>
void ForPiecesOfAll(const std::vector<I64>& counts, const ParallelFor& pool, const Body& body) {
  std::vector<I64> ends;
  I64 total = 0;
  for (const I64 count : counts) ends.push_back(total += count);
  const auto run = [&](I64 first, I64 last) {
    auto tensor =
        static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), first) - ends.begin());
    for (I64 i = first; i < last; ++i) {
      while (i >= ends[tensor]) ++tensor;
      body(tensor, i - (ends[tensor] - counts[tensor]));
    }
  };
  if (total == 0) return;
  if (total == 1 || !pool) {
    run(0, total);
  } else {
    pool(total, run);
  }
}

using BackwardKernel = void (*)(const LsqBackwardArgs& args, I64 begin, I64 end, double* step_sums,
                                double* offset_sums);

// One tensor's backward pass: pieces in any order, on any thread, and then the sums.
class BackwardRun {
 public:
  BackwardRun(BackwardKernel kernel, const LsqFakeQuantizeBackwardArgs& args)
      : kernel_(kernel),
        args_(args),
        grid_(args.scale, args.offset, args.layout.num_scales(), args.qmin, args.qmax, args.rule),
        pieces_(args.layout),
        step_sums_(static_cast<std::size_t>(pieces_.num_sums())),
        offset_sums_(args.offset != nullptr ? step_sums_.size() : 0) {}

  [[nodiscard]] I64 count() const { return pieces_.count(); }

  void Run(I64 first, I64 last) {
    const LsqBackwardArgs kernel_args = BackwardArgs(args_, grid_);
    for (I64 i = first; i < last; ++i) {
      const SumPieces::Piece piece = pieces_.piece(i);
      kernel_(kernel_args, piece.begin, piece.end, step_sums_.data() + piece.first_sum,
              args_.offset != nullptr ? offset_sums_.data() + piece.first_sum : nullptr);
    }
  }

  void Finish() const {
    std::vector<double> totals;
    pieces_.Combine(step_sums_, totals);
    for (std::size_t i = 0; i < totals.size(); ++i) {
      const double slope = LearnedStepSlope(args_.scale[i], args_.qmin, args_.qmax, args_.rule);
      args_.grad_scale[i] = static_cast<float>(totals[i] * slope * args_.grad_factor);
    }
    if (args_.offset == nullptr) return;
    pieces_.Combine(offset_sums_, totals);
    for (std::size_t i = 0; i < totals.size(); ++i) {
      args_.grad_offset[i] = static_cast<float>(totals[i] * args_.grad_factor);
    }
  }

 private:
  BackwardKernel kernel_;
  const LsqFakeQuantizeBackwardArgs& args_;
  LearnedGrid grid_;
  SumPieces pieces_;
  std::vector<double> step_sums_, offset_sums_;
};

void RunBackward(BackwardKernel kernel, const LsqFakeQuantizeBackwardArgs& args,
                 const ParallelFor& pool) {
  BackwardRun run(kernel, args);
  if (run.count() <= 1 || !pool) {
    run.Run(0, run.count());
  } else {
    pool(run.count(), [&](I64 first, I64 last) { run.Run(first, last); });
  }
  run.Finish();
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

void lsq_fake_quantize_multi(std::span<const LsqFakeQuantizeArgs> args, const ParallelFor& pool) {
  const auto kernel = cpu::ActiveKernels().fake_quantize;
  std::vector<cpu::LearnedGrid> grids;
  std::vector<cpu::I64> chunks;
  for (const LsqFakeQuantizeArgs& one : args) {
    grids.emplace_back(one.scale, one.offset, one.layout.num_scales(), one.qmin, one.qmax,
                       one.rule);
    chunks.push_back((one.layout.numel() + cpu::kChunk - 1) / cpu::kChunk);
  }
  cpu::ForPiecesOfAll(chunks, pool, [&](std::size_t tensor, cpu::I64 chunk) {
    const cpu::I64 begin = chunk * cpu::kChunk;
    kernel(cpu::TrainArgs(args[tensor], grids[tensor]).grid, begin,
           std::min(args[tensor].layout.numel(), begin + cpu::kChunk));
  });
}

void lsq_fake_quantize_multi_backward(std::span<const LsqFakeQuantizeBackwardArgs> args,
                                      const ParallelFor& pool) {
  std::vector<cpu::BackwardRun> runs;
  std::vector<cpu::I64> pieces;
  for (const LsqFakeQuantizeBackwardArgs& one : args) {
    runs.emplace_back(cpu::ActiveKernels().lsq_backward, one);
    pieces.push_back(runs.back().count());
  }
  cpu::ForPiecesOfAll(pieces, pool, [&](std::size_t tensor, cpu::I64 piece) {
    runs[tensor].Run(piece, piece + 1);
  });
  for (const cpu::BackwardRun& run : runs) run.Finish();
}

}  // namespace edgeqat
