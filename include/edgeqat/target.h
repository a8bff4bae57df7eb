// SPDX-License-Identifier: Apache-2.0
// What a runtime or chip executes on integers, as data.
//
//   const edgeqat::Target& target = edgeqat::FindTarget("onnxruntime");
//   target.Supports("conv");  // true
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "edgeqat/quant_spec.h"

namespace edgeqat {

// Operators have the names of graph.h.
struct Target {
  std::string name;
  std::vector<int> weight_bits = {2, 3, 4, 5, 6, 7, 8};      // widths of weights it stores
  std::vector<int> activation_bits = {2, 3, 4, 5, 6, 7, 8};  // widths it computes with
  std::vector<Granularity> granularities = {Granularity::kTensor, Granularity::kChannel,
                                            Granularity::kGroup};
  std::set<std::string, std::less<>> shared_scale_operators{};  // inputs and output have one scale
  std::set<std::string, std::less<>> float_operators{};         // run in float
  std::string requantization = "f32_even";  // rounding rule of its kernels (docs/numerics.md)

  [[nodiscard]] bool Supports(std::string_view op) const { return !float_operators.contains(op); }

  friend bool operator==(const Target&, const Target&) = default;
};

// Every target of the library, sorted by name.
[[nodiscard]] std::span<const Target> Targets();

// Errors: kInvalidArgument listing the names there are.
[[nodiscard]] const Target& FindTarget(std::string_view name);

}  // namespace edgeqat
