// SPDX-License-Identifier: Apache-2.0
// per_token_fake_quantize on CUDA.
#include <torch/csrc/stable/library.h>

#include "cuda/per_token_fake_quantize.h"
#include "torch/check.h"
#include "torch/cuda/device.h"
#include "torch/rows.h"

namespace edgeqat::torch_ops {

Tensor per_token_fake_quantize_cuda(const Tensor& x, std::int64_t qmin, std::int64_t qmax,
                                    bool symmetric) {
  constexpr const char* kOp = "per_token_fake_quantize";
  PerTokenFakeQuantizeArgs args;
  args.dtype = CheckFloat(kOp, "x", x);
  CheckRange(kOp, qmin, qmax);

  const CudaScope scope(x);
  Rows rows = PrepareRows(x);
  args.rows = rows.rows;
  args.width = rows.width;
  args.x = rows.data.x.const_data_ptr();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.symmetric = symmetric;
  args.y = rows.data.out.mutable_data_ptr();
  cuda::per_token_fake_quantize(args, scope.stream());
  scope.CheckLaunch();
  return rows.data.Finish();
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CUDA, m) {
  m.impl("per_token_fake_quantize", TORCH_BOX(&per_token_fake_quantize_cuda));
}

}  // namespace edgeqat::torch_ops
