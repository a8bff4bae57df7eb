// SPDX-License-Identifier: Apache-2.0
// Checks and argument passing of oscillation_update_, shared by the CPU and the CUDA operator.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "edgeqat/oscillation.h"
#include "torch/check.h"
#include "torch/in_place.h"

namespace edgeqat::torch_ops {

inline void CheckOscillationState(std::string_view argument, const Tensor& state, ScalarType dtype,
                                  const Tensor& weight) {
  constexpr const char* kOp = "oscillation_update_";
  CheckDtype(kOp, argument, state, dtype);
  CheckDevice(kOp, argument, state, weight);
  CheckShape(kOp, argument, state, Sizes(weight), "Every weight has its own state.");
  if (OrderOf(state).dense) return;
  Fail(kOp, argument, "without gaps or overlap in memory", "an expanded or sliced view",
       "It is written in place: pass the buffer itself.");
}

inline void CheckOscillationOptions(std::int64_t qmin, std::int64_t qmax, double momentum,
                                    std::optional<double> freeze_threshold) {
  constexpr const char* kOp = "oscillation_update_";
  CheckRange(kOp, qmin, qmax);
  if (qmax > 127) {
    Fail(kOp, "qmin, qmax", "within [-128, 127]",
         std::to_string(qmin) + ", " + std::to_string(qmax),
         "Weights have signed codes, which codes keeps as int8.");
  }
  if (!(momentum > 0.0 && momentum <= 1.0)) {
    Fail(kOp, "momentum", "in (0, 1]", std::to_string(momentum),
         "0.01 averages over about 100 steps.");
  }
  if (freeze_threshold.has_value() && !(*freeze_threshold >= 0.0)) {
    Fail(kOp, "freeze_threshold", "at least 0", std::to_string(*freeze_threshold),
         "0.01 freezes a weight that oscillates once in 100 steps; None freezes nothing.");
  }
}

// What a call changes, in the order of the kernel's pointers.
struct OscillationTensors {
  InPlaceData weight;
  std::array<InPlace, 5> state;

  void Finish() {
    weight.data.Finish();
    for (InPlace& tensor : state) tensor.Finish();
  }
};

inline OscillationTensors PrepareOscillation(const Tensor& weight, const Tensor& codes,
                                             const Tensor& direction, const Tensor& frequency,
                                             const Tensor& mean_code, const Tensor& frozen,
                                             const Granularity& granularity) {
  CheckOscillationState("codes", codes, ScalarType::Char, weight);
  CheckOscillationState("direction", direction, ScalarType::Char, weight);
  CheckOscillationState("frequency", frequency, ScalarType::Float, weight);
  CheckOscillationState("mean_code", mean_code, ScalarType::Float, weight);
  CheckOscillationState("frozen", frozen, ScalarType::Bool, weight);
  OscillationTensors result = {PrepareInPlace(weight, granularity), {}};
  result.state = {AlongWith(codes, result.weight), AlongWith(direction, result.weight),
                  AlongWith(frequency, result.weight), AlongWith(mean_code, result.weight),
                  AlongWith(frozen, result.weight)};
  return result;
}

// The kernel's arguments but dtype, scale and zero_point.
inline OscillationUpdateArgs OscillationArgs(OscillationTensors& tensors, std::int64_t qmin,
                                             std::int64_t qmax, double momentum,
                                             std::optional<double> freeze_threshold) {
  OscillationUpdateArgs args;
  args.layout = tensors.weight.layout;
  args.weight = tensors.weight.data.working.mutable_data_ptr();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.codes = tensors.state[0].working.mutable_data_ptr<std::int8_t>();
  args.direction = tensors.state[1].working.mutable_data_ptr<std::int8_t>();
  args.frequency = tensors.state[2].working.mutable_data_ptr<float>();
  args.mean_code = tensors.state[3].working.mutable_data_ptr<float>();
  args.frozen = static_cast<std::uint8_t*>(tensors.state[4].working.mutable_data_ptr());
  args.momentum = static_cast<float>(momentum);
  if (freeze_threshold.has_value()) args.freeze_threshold = static_cast<float>(*freeze_threshold);
  return args;
}

}  // namespace edgeqat::torch_ops
