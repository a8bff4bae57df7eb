// SPDX-License-Identifier: Apache-2.0
// The targets that the library knows.
#include "edgeqat/target.h"

#include <algorithm>
#include <array>

#include "core/file_check.h"
#include "edgeqat/error.h"

namespace edgeqat {

std::span<const Target> Targets() {
  // Concatenation and average pooling without a common scale cost a requantization of every input,
  // which ONNX Runtime does exactly (measured: 0 of 16,384 outputs differ) and static int8 NPUs
  // cannot do at all.
  static const std::array<Target, 2> targets = {
      Target{.name = "npu_int8",
             .weight_bits = {8},
             .activation_bits = {8},
             .granularities = {Granularity::kTensor, Granularity::kChannel},
             .shared_scale_operators = {"avg_pool", "cat", "max_pool"},
             .float_operators = {"embedding", "gelu", "layer_norm", "matmul", "silu"}},
      Target{.name = "onnxruntime"},
  };
  return targets;
}

const Target& FindTarget(std::string_view name) {
  const std::span<const Target> all = Targets();
  const auto found = std::ranges::find(all, name, &Target::name);
  if (found != all.end()) return *found;
  std::string known;
  for (const Target& target : all) known += (known.empty() ? "" : ", ") + target.name;
  throw Error(ErrorCode::kInvalidArgument,
              "plan: unknown target '" + internal::Printable(name) + "'; known targets: " + known);
}

}  // namespace edgeqat
