// SPDX-License-Identifier: Apache-2.0
// QuantLayout::index for kernels: the same map from element to scale, divisions by multiplication.
#pragma once

#include <cstdint>

#include "cuda/fast_divisor.h"
#include "cuda/host_device.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::cuda {

class QparamIndex {
 public:
  QparamIndex() = default;

  explicit QparamIndex(const QuantLayout& layout)
      : is_single_(layout.num_scales() <= 1),
        block_(AtLeastOne(layout.rows * layout.width)),
        channels_(AtLeastOne(layout.channels)),
        width_(AtLeastOne(layout.width)) {}

  // ((e / (rows * width)) % channels) * width + e % width
  [[nodiscard]] EDGEQAT_HOST_DEVICE std::int64_t operator()(std::int64_t e) const {
    if (is_single_) return 0;
    return channels_.Modulo(block_.Divide(e)) * width_.divisor() + width_.Modulo(e);
  }

  // Whether every aligned chunk of `chunk` elements has one scale, so that it is looked up once.
  [[nodiscard]] bool IsUniform(std::int64_t chunk) const {
    return is_single_ || (width_.divisor() == 1 && block_.divisor() % chunk == 0);
  }

 private:
  static std::int64_t AtLeastOne(std::int64_t size) { return size < 1 ? 1 : size; }

  bool is_single_ = true;
  FastDivisor block_;
  FastDivisor channels_;
  FastDivisor width_;
};

}  // namespace edgeqat::cuda
