// SPDX-License-Identifier: Apache-2.0
// What the kernels of lsq_fake_quantize take: the arguments of edgeqat/lsq_fake_quantize.h with the
// learned parameters already turned into steps and zero points.
#pragma once

#include <cstdint>
#include <vector>

#include "edgeqat/fake_quantize.h"
#include "edgeqat/lsq_fake_quantize.h"

namespace edgeqat::cpu {

struct LsqTrainArgs {
  FakeQuantizeArgs grid;  // its bits are not used
  std::int8_t* residual = nullptr;
};

struct LsqBackwardArgs {
  FloatType dtype = FloatType::kFloat32;
  QuantLayout layout;
  const void* grad = nullptr;
  const void* x = nullptr;
  const std::int8_t* residual = nullptr;
  const float* step = nullptr;
  const std::int32_t* zero_point = nullptr;
  std::int32_t qmin = -128;
  std::int32_t qmax = 127;
  ActivationKind activation = ActivationKind::kNone;
  const std::uint8_t* mask = nullptr;
  float residual_weight = 1.0F;  // 0 for PACT
  float delta = 0.0F;            // per code: delta / (qmax - qmin)
  float damping = 0.0F;          // times 2
  void* grad_x = nullptr;
};

// The steps and zero points of learned scales and offsets.
struct LearnedGrid {
  std::vector<float> step;
  std::vector<std::int32_t> zero_point;

  LearnedGrid(const float* scale, const float* offset, std::int64_t count, std::int32_t qmin,
              std::int32_t qmax, StepRule rule);
};

// The kernel's arguments for the public ones; `grid` must outlive them.
LsqTrainArgs TrainArgs(const LsqFakeQuantizeArgs& args, const LearnedGrid& grid);
LsqBackwardArgs BackwardArgs(const LsqFakeQuantizeBackwardArgs& args, const LearnedGrid& grid);

}  // namespace edgeqat::cpu
