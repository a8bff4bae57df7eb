// SPDX-License-Identifier: Apache-2.0
// Argument checks of dorefa_fake_quantize, shared by the CPU and the CUDA side.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "torch/check.h"

namespace edgeqat::torch_ops {

inline void CheckDorefaRange(std::string_view op, std::int64_t qmin, std::int64_t qmax) {
  CheckRange(op, qmin, qmax);
  if (qmax >= 1 && qmin <= -qmax) return;
  Fail(op, "qmin, qmax", "around 0 with qmin <= -qmax",
       std::to_string(qmin) + ", " + std::to_string(qmax),
       "tanh maps the weights to [-1, 1] = [-qmax, qmax] / qmax: use -7, 7 or -8, 7 for 4 bits.");
}

inline void CheckDorefaGrad(std::string_view op, const Tensor& grad, const Tensor& x) {
  CheckDtype(op, "grad", grad, x.scalar_type());
  CheckDevice(op, "grad", grad, x);
  CheckShape(op, "grad", grad, Sizes(x), "grad has the shape of the forward's x.");
}

}  // namespace edgeqat::torch_ops
