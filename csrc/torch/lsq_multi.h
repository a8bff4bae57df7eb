// SPDX-License-Identifier: Apache-2.0
// The lists of lsq_fake_quantize_multi: one entry for each tensor.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "torch/lsq_check.h"

namespace edgeqat::torch_ops {

using Tensors = std::vector<Tensor>;
using Ints = std::vector<std::int64_t>;

// In the lists of axes and group sizes: none. Schemas have no list of optional integers.
inline constexpr std::int64_t kNoAxis = std::numeric_limits<std::int32_t>::min();
inline constexpr std::int64_t kNoGroup = 0;

inline void CheckLength(std::string_view op, std::string_view argument, std::size_t found,
                        std::size_t expected) {
  if (found == expected) return;
  Fail(op, argument, "of length " + std::to_string(expected) + ", one entry for each tensor of x",
       std::to_string(found), "Give every list the same length.");
}

// The options of each tensor.
inline std::vector<LsqOptions> MultiOptions(std::string_view op, std::size_t tensors,
                                            const Tensors& scale, const Ints& qmin,
                                            const Ints& qmax, const Ints& axis,
                                            const Ints& group_size, std::int64_t rule) {
  CheckLength(op, "scale", scale.size(), tensors);
  CheckLength(op, "qmin", qmin.size(), tensors);
  CheckLength(op, "qmax", qmax.size(), tensors);
  CheckLength(op, "axis", axis.size(), tensors);
  CheckLength(op, "group_size", group_size.size(), tensors);
  std::vector<LsqOptions> options(tensors);
  for (std::size_t i = 0; i < tensors; ++i) {
    options[i].qmin = qmin[i];
    options[i].qmax = qmax[i];
    if (axis[i] != kNoAxis) options[i].axis = axis[i];
    if (group_size[i] != kNoGroup) options[i].group_size = group_size[i];
    options[i].rule = rule;
  }
  return options;
}

// Runs body(i) for each tensor; an error names it.
template <typename Body>
void ForEachTensor(std::size_t tensors, const Body& body) {
  for (std::size_t i = 0; i < tensors; ++i) {
    try {
      body(i);
    } catch (const Error& error) {
      throw Error(error.code(), std::string(error.what()) + " (tensor " + std::to_string(i) +
                                    " of " + std::to_string(tensors) + ")");
    }
  }
}

}  // namespace edgeqat::torch_ops
