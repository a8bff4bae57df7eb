// SPDX-License-Identifier: Apache-2.0
// choose_qparams: one thread per channel.
#include "cuda/launch.cuh"
#include "cuda/qparams.h"
#include "cuda/qparams_rule.h"

namespace edgeqat::cuda {
namespace {

__global__ void ChooseQParamsKernel(ChooseQParamsArgs p) {
  for (std::int64_t i = FirstItem(); i < p.count; i += ItemStride()) {
    const auto chosen = ChooseQParamsRule(p.min_val[i], p.max_val[i], p.qmin, p.qmax, p.symmetric);
    p.scale[i] = chosen.scale;
    p.zero_point[i] = chosen.zero_point;
  }
}

}  // namespace

void choose_qparams(const ChooseQParamsArgs& args, cudaStream_t stream) {
  Launch(&ChooseQParamsKernel, GridBlocks(args.count, MultiprocessorCount()), stream, args);
}

}  // namespace edgeqat::cuda
