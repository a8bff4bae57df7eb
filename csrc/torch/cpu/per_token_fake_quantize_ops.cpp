// SPDX-License-Identifier: Apache-2.0
// per_token_fake_quantize on the CPU.
#include <torch/csrc/stable/library.h>

#include "edgeqat/per_token_fake_quantize.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/rows.h"

namespace edgeqat::torch_ops {

Tensor per_token_fake_quantize_cpu(const Tensor& x, std::int64_t qmin, std::int64_t qmax,
                                   bool symmetric) {
  constexpr const char* kOp = "per_token_fake_quantize";
  PerTokenFakeQuantizeArgs args;
  args.dtype = CheckFloat(kOp, "x", x);
  CheckRange(kOp, qmin, qmax);

  Rows rows = PrepareRows(x);
  args.rows = rows.rows;
  args.width = rows.width;
  args.x = rows.data.x.const_data_ptr();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.symmetric = symmetric;
  args.y = rows.data.out.mutable_data_ptr();
  edgeqat::per_token_fake_quantize(args, TorchPool());
  return rows.data.Finish();
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("per_token_fake_quantize", TORCH_BOX(&per_token_fake_quantize_cpu));
}

}  // namespace edgeqat::torch_ops
