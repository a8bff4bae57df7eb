// SPDX-License-Identifier: Apache-2.0
// Walks the nodes that the wanted tensors need, and frees every value after its last reader.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/reference/codes.h"
#include "core/reference/node_run.h"
#include "edgeqat/error.h"
#include "edgeqat/reference.h"

namespace edgeqat {
namespace {

using reference::Codes;
using reference::NodeRun;
using reference::Operand;
using Kernel = Tensor (*)(const NodeRun&);

Kernel FindKernel(std::string_view op) {
  using namespace reference;  // NOLINT(google-build-using-namespace)
  static const std::unordered_map<std::string_view, Kernel> kernels = {
      {"adaptive_avg_pool", RunAvgPool},
      {"add", RunBinary},
      {"avg_pool", RunAvgPool},
      {"cat", RunCat},
      {"clamp", RunUnary},
      {"conv", RunConv},
      {"conv_transpose", RunConv},
      {"dequantize", RunUnary},
      {"div", RunBinary},
      {"embedding", RunEmbedding},
      {"expand", RunStrided},
      {"gelu", RunUnary},
      {"hardsigmoid", RunUnary},
      {"hardswish", RunUnary},
      {"identity", RunReshape},
      {"layer_norm", RunLayerNorm},
      {"leaky_relu", RunUnary},
      {"linear", RunLinear},
      {"matmul", RunMatmul},
      {"max_pool", RunMaxPool},
      {"mean", RunMean},
      {"mul", RunBinary},
      {"pad", RunPad},
      {"quantize", RunUnary},
      {"relu", RunUnary},
      {"reshape", RunReshape},
      {"sigmoid", RunUnary},
      {"silu", RunUnary},
      {"slice", RunStrided},
      {"softmax", RunSoftmax},
      {"sub", RunBinary},
      {"tanh", RunUnary},
      {"transpose", RunStrided},
  };
  const auto found = kernels.find(op);
  return found == kernels.end() ? nullptr : found->second;
}

[[noreturn]] void Refuse(const std::string& name, const std::string& problem) {
  throw Error(ErrorCode::kInvalidArgument, "reference: tensor \"" + name + "\": " + problem);
}

class Runner {
 public:
  Runner(const Graph& graph, const std::map<std::string, Tensor>& constants,
         const RunOptions& options)
      : graph_(graph), constants_(constants), options_(options) {}

  std::map<std::string, Tensor> Run(const std::map<std::string, Tensor>& inputs) {
    for (const auto& [name, tensor] : inputs) Give(name, tensor);
    const std::vector<std::string> wanted = Wanted();
    const std::vector<const Node*> nodes = Needed(wanted);
    const std::unordered_set<std::string> kept(wanted.begin(), wanted.end());
    std::unordered_map<std::string, std::size_t> last_use;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      for (const std::string& name : nodes[i]->inputs) last_use[name] = i;
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      RunNode(*nodes[i]);
      for (const std::string& name : nodes[i]->inputs) {
        if (last_use[name] == i && !kept.contains(name)) values_.erase(name);
      }
    }
    std::map<std::string, Tensor> results;
    for (const std::string& name : wanted) {
      if (results.contains(name)) continue;
      const auto computed = values_.find(name);
      results.emplace(name,
                      computed != values_.end() ? std::move(computed->second) : Constant(name));
    }
    return results;
  }

 private:
  const TensorInfo& Info(const std::string& name) const {
    const auto found = graph_.tensors.find(name);
    if (found == graph_.tensors.end()) {
      Refuse(name, "expected the name of a tensor of the graph, found an unknown name");
    }
    return found->second;
  }

  void CheckShape(const std::string& name, const TensorInfo& info, const Tensor& tensor) const {
    bool same = tensor.shape.size() == info.shape.size();
    for (std::size_t i = 0; same && i < info.shape.size(); ++i) {
      same = info.shape[i] == -1 || info.shape[i] == tensor.shape[i];
    }
    if (!same) {
      Refuse(name, "expected shape " + ShapeString(info.shape) + " (-1: any), found " +
                       ShapeString(tensor.shape));
    }
    if (NumBytes(tensor.dtype, tensor.shape) != tensor.data.size()) {
      Refuse(name, "expected as many bytes as shape " + ShapeString(tensor.shape) + " has, found " +
                       std::to_string(tensor.data.size()));
    }
  }

  void Give(const std::string& name, const Tensor& tensor) {
    const TensorInfo& info = Info(name);
    if (info.constant) Refuse(name, "expected an input or a computed tensor, found a constant");
    CheckShape(name, info, tensor);
    if (!info.shape.empty() && info.shape[0] == -1 &&
        std::ranges::find(graph_.inputs, name) != graph_.inputs.end()) {
      batch_ = tensor.shape[0];
    }
    if (info.quant && tensor.dtype == DType::kFloat32) {
      values_[name] = reference::Quantize(*CodesOf(name), tensor.Span<float>(), tensor.shape);
    } else if (tensor.dtype == info.dtype) {
      values_[name] = tensor;
      if (info.quant) CheckRange(name, tensor);
    } else {
      Refuse(name, "expected " + std::string(DTypeName(info.dtype)) +
                       (info.quant ? " codes or float32" : "") + ", found " +
                       std::string(DTypeName(tensor.dtype)));
    }
  }

  // The proof that int32 is enough rests on codes being inside their range.
  void CheckRange(const std::string& name, const Tensor& tensor) const {
    const Codes& codes = *CodesOf(name);
    const auto check = [&](auto values) {
      const auto [low, high] = std::ranges::minmax_element(values);
      if (low != values.end() && (*low < codes.qmin || *high > codes.qmax)) {
        Refuse(name, "expected codes from " + std::to_string(codes.qmin) + " to " +
                         std::to_string(codes.qmax) + ", found " + std::to_string(*low) + " to " +
                         std::to_string(*high));
      }
    };
    if (tensor.dtype == DType::kInt8) return check(tensor.Span<std::int8_t>());
    check(tensor.Span<std::uint8_t>());
  }

  std::vector<std::string> Wanted() const {
    if (!options_.keep_all) return options_.keep.empty() ? graph_.outputs : options_.keep;
    std::vector<std::string> names = graph_.outputs;
    for (const Node& node : graph_.nodes)
      names.insert(names.end(), node.outputs.begin(), node.outputs.end());
    return names;
  }

  std::vector<const Node*> Needed(const std::vector<std::string>& wanted) const {
    std::unordered_set<std::string> missing;
    const auto want = [&](const std::string& name) {
      if (!name.empty() && !Info(name).constant && !values_.contains(name)) missing.insert(name);
    };
    for (const std::string& name : wanted) want(name);
    std::vector<const Node*> nodes;
    for (std::size_t i = graph_.nodes.size(); i-- > 0;) {
      const Node& node = graph_.nodes[i];
      bool needed = false;
      for (const std::string& name : node.outputs) needed = missing.erase(name) > 0 || needed;
      if (!needed) continue;
      nodes.push_back(&node);
      for (const std::string& name : node.inputs) want(name);
    }
    if (!missing.empty())
      Refuse(*missing.begin(), "expected it among the inputs of the run, found none");
    std::ranges::reverse(nodes);
    return nodes;
  }

  const Tensor& Constant(const std::string& name) const {
    const auto found = constants_.find(name);
    if (found == constants_.end()) Refuse(name, "expected it among the constants, found none");
    return found->second;
  }

  // Parameters of a tensor, looked up once; null where it has none.
  const Codes* CodesOf(const std::string& name) const {
    const TensorInfo& info = Info(name);
    if (!info.quant) return nullptr;
    auto found = codes_.find(name);
    if (found == codes_.end()) {
      const Tensor& scale = Constant(info.quant->scale);
      const Tensor& zero_point = Constant(info.quant->zero_point);
      CheckShape(info.quant->scale, Info(info.quant->scale), scale);
      CheckShape(info.quant->zero_point, Info(info.quant->zero_point), zero_point);
      found =
          codes_.emplace(name, reference::MakeCodes(name, *info.quant, scale, zero_point)).first;
    }
    return &found->second;
  }

  Operand MakeOperand(const std::string& name) {
    if (name.empty()) return {};
    const TensorInfo& info = Info(name);
    const Codes* codes = CodesOf(name);
    if (!info.constant) return {&values_.at(name), codes, false};
    const Tensor& tensor = Constant(name);
    if (checked_.insert(name).second) {
      CheckShape(name, info, tensor);
      if (tensor.dtype != info.dtype) {
        Refuse(name, "expected " + std::string(DTypeName(info.dtype)) + ", found " +
                         std::string(DTypeName(tensor.dtype)));
      }
      if (codes != nullptr) CheckRange(name, tensor);
    }
    return {&tensor, codes, true};
  }

  void RunNode(const Node& node) {
    const std::string& name = node.outputs[0];
    const TensorInfo& info = Info(name);
    NodeRun run{node, {}, CodesOf(name), info.dtype, options_, batch_};
    for (const std::string& input : node.inputs) run.inputs.push_back(MakeOperand(input));
    const Kernel kernel = FindKernel(node.op);
    if (kernel == nullptr) {
      run.Fail(ErrorCode::kUnsupported, "op",
               "expected an op that the reference executes, found one that was left as it is in "
               "PyTorch; "
               "give its output as an input of the run, or replace the op in the model");
    }
    Tensor result = kernel(run);
    bool same = result.shape.size() == info.shape.size() && result.dtype == info.dtype;
    for (std::size_t i = 0; same && i < info.shape.size(); ++i) {
      same = info.shape[i] == -1 || info.shape[i] == result.shape[i];
    }
    run.Expect(same, "outputs[0]",
               "expected " + std::string(DTypeName(info.dtype)) + " of shape " +
                   ShapeString(info.shape) + ", found " + std::string(DTypeName(result.dtype)) +
                   " of shape " + ShapeString(result.shape) + "; the graph contradicts itself");
    values_.insert_or_assign(name, std::move(result));
  }

  const Graph& graph_;
  const std::map<std::string, Tensor>& constants_;
  const RunOptions& options_;
  std::int64_t batch_ = 1;
  std::unordered_map<std::string, Tensor> values_;
  std::unordered_set<std::string> checked_;
  mutable std::unordered_map<std::string, Codes> codes_;
};

}  // namespace

bool reference::HasKernel(std::string_view op) { return FindKernel(op) != nullptr; }

std::map<std::string, Tensor> RunReference(const Graph& graph,
                                           const std::map<std::string, Tensor>& constants,
                                           const std::map<std::string, Tensor>& inputs,
                                           const RunOptions& options) {
  if (options.threads < 1) {
    throw Error(ErrorCode::kInvalidArgument, "reference: threads: expected at least 1, found " +
                                                 std::to_string(options.threads));
  }
  ValidateGraph(graph);
  return Runner(graph, constants, options).Run(inputs);
}

}  // namespace edgeqat
