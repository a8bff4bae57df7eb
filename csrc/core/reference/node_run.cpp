// SPDX-License-Identifier: Apache-2.0
// Reading operands as float32, and finishing a float32 result.
#include "core/reference/node_run.h"

#include <algorithm>

#include "edgeqat/error.h"

namespace edgeqat::reference {

Floats::Floats(const Operand& operand) {
  if (operand.codes == nullptr) {
    view_ = operand.tensor->Span<float>();
    return;
  }
  storage_.resize(static_cast<std::size_t>(operand.tensor->NumElements()));
  Dequantize(*operand.codes, *operand.tensor, storage_);
  view_ = storage_;
}

std::vector<double> NodeRun::FloatBias(std::int64_t count) const {
  if (!Has(2)) return std::vector<double>(static_cast<std::size_t>(count), 0.0);
  const Tensor& bias = *inputs[2].tensor;
  Expect(bias.NumElements() == count && bias.dtype != DType::kInt32, "inputs[2]",
         "expected " + std::to_string(count) + " float32 values, found " + ShapeString(bias.shape) +
             " of " + std::string(DTypeName(bias.dtype)));
  const Floats values(inputs[2]);
  return {values.view().begin(), values.view().end()};
}

float NodeRun::Activate(float value) const {
  if (!node.activation) return value;
  if (node.activation->kind == Activation::Kind::kRelu) return value < 0.0F ? 0.0F : value;
  if (const auto& min = node.activation->min; min && value < static_cast<float>(*min)) {
    return static_cast<float>(*min);
  }
  if (const auto& max = node.activation->max; max && value > static_cast<float>(*max)) {
    return static_cast<float>(*max);
  }
  return value;
}

Tensor NodeRun::Finish(std::vector<float> values, Shape shape) const {
  if (node.activation) {
    for (float& value : values) value = Activate(value);
  }
  if (output != nullptr) return Quantize(*output, values, std::move(shape));
  return Tensor::From<float>(std::move(shape), values);
}

bool NodeRun::MovesCodes(std::size_t i) const {
  if (node.activation) return false;
  const Codes* codes = inputs[i].codes;
  if (codes == nullptr || output == nullptr) return codes == output;
  return codes->PerTensor() && output->PerTensor() && codes->scale == output->scale &&
         codes->zero_point == output->zero_point && codes->dtype == output->dtype &&
         codes->qmin >= output->qmin && codes->qmax <= output->qmax;
}

void NodeRun::Fail(ErrorCode code, std::string_view field, const std::string& problem) const {
  throw Error(code, "reference: node \"" + node.name + "\" (" + node.op +
                        (node.source.empty() ? "" : ", " + node.source) +
                        "): " + std::string(field) + ": " + problem);
}

}  // namespace edgeqat::reference
