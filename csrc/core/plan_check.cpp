// SPDX-License-Identifier: Apache-2.0
// A plan against its target, and edits of single tensors.
#include <algorithm>
#include <string>

#include "core/file_check.h"
#include "core/plan_fields.h"
#include "edgeqat/error.h"

namespace edgeqat {
namespace {

[[noreturn]] void Fail(const std::string& problem) {
  throw Error(ErrorCode::kInvalidArgument, "plan: " + problem);
}

void CheckOnTarget(const TensorPlan& tensor, const std::vector<int>& widths, const Target& target) {
  if (!tensor.bits || tensor.status != TensorStatus::kQuantized) return;
  const std::string on = "target '" + target.name + "' has no ";
  const std::string name = internal::Printable(tensor.name);
  if (std::ranges::find(widths, *tensor.bits) == widths.end()) {
    std::string has;
    for (const int width : widths) has += (has.empty() ? "" : ", ") + std::to_string(width);
    Fail(on + "int" + std::to_string(*tensor.bits) + " for " + name + "; it has [" + has +
         "] bits");
  }
  if (std::ranges::find(target.granularities, tensor.granularity) == target.granularities.end())
    Fail(on + "scales per " + std::string(NameOf(tensor.granularity)) + " for " + name);
}

}  // namespace

QuantSpec TensorPlan::Spec() const {
  if (!bits) {
    Fail(internal::Printable(name) + " stays float (" + internal::Printable(note, 400) +
         "); it has no number format");
  }
  const QuantSpec spec{*bits, symmetric, granularity, axis, group_size, narrow_range};
  ValidateQuantSpec(spec);
  return spec;
}

void CheckPlan(const Plan& plan, const Target& target) {
  for (const LayerPlan& layer : plan.layers) {
    if (layer.weight) CheckOnTarget(*layer.weight, target.weight_bits, target);
    if (layer.input) CheckOnTarget(*layer.input, target.activation_bits, target);
    CheckOnTarget(layer.output, target.activation_bits, target);
  }
}

void EditTensor(TensorPlan& tensor, const std::function<void(TensorPlan&)>& change) {
  TensorPlan edited = tensor;
  change(edited);
  if (edited.bits) {
    if (edited.status == TensorStatus::kFused || edited.status == TensorStatus::kShared) {
      Fail(internal::Printable(tensor.name) + " is " + std::string(NameOf(tensor.status)) + " (" +
           internal::Printable(tensor.note, 400) + "); edit that tensor instead");
    }
    static_cast<void>(edited.Spec().ScaleShape(edited.shape));
    edited.status = TensorStatus::kQuantized;
  } else if (edited.status == TensorStatus::kQuantized) {
    edited.status = TensorStatus::kFloat;
    edited.note = "left float by an edit of the plan";
  }
  tensor = std::move(edited);
}

}  // namespace edgeqat
