// SPDX-License-Identifier: Apache-2.0
// Graph and the integer reference for Python: read-only views, NumPy arrays in and out.
#include <pybind11/numpy.h>
#include <pybind11/operators.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "edgeqat/graph.h"
#include "edgeqat/reference.h"
#include "edgeqat/tensor.h"
#include "python/bind.h"

namespace edgeqat::python {
namespace {

namespace py = pybind11;

DType DTypeOfArray(const std::string& name, const py::array& array) {
  const auto found = py::str(array.dtype().attr("name")).cast<std::string>();
  const bool native = array.dtype().attr("isnative").cast<bool>();
  for (const DType dtype :
       {DType::kFloat32, DType::kInt8, DType::kUint8, DType::kInt32, DType::kInt64, DType::kBool}) {
    if (native && found == DTypeName(dtype)) return dtype;
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      "run_reference: array \"" + name +
          "\": expected float32, int8, uint8, int32, int64 or bool in native byte order, found " +
          found + "; convert it with .astype()");
}

std::map<std::string, Tensor> ToTensors(const std::map<std::string, py::array>& arrays) {
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, array] : arrays) {
    const DType dtype = DTypeOfArray(name, array);
    const auto rows = py::array::ensure(array, py::array::c_style);
    if (!rows) throw py::error_already_set();
    Tensor tensor = Tensor::Zeros(dtype, {rows.shape(), rows.shape() + rows.ndim()});
    if (!tensor.data.empty()) std::memcpy(tensor.data.data(), rows.data(), tensor.data.size());
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

py::array ToArray(const Tensor& tensor) {
  py::array array(py::dtype(std::string(DTypeName(tensor.dtype))), tensor.shape);
  if (!tensor.data.empty())
    std::memcpy(array.mutable_data(), tensor.data.data(), tensor.data.size());
  return array;
}

py::dict RunReferenceOnArrays(const Graph& graph, const std::map<std::string, py::array>& constants,
                              const std::map<std::string, py::array>& inputs,
                              const std::optional<std::vector<std::string>>& keep, int threads,
                              bool keep_all) {
  const auto constant_tensors = ToTensors(constants);
  const auto input_tensors = ToTensors(inputs);
  RunOptions options;
  options.keep = keep.value_or(std::vector<std::string>{});
  options.keep_all = keep_all;
  options.threads = threads;
  py::dict results;
  if (keep && keep->empty() && !keep_all) return results;
  std::map<std::string, Tensor> tensors;
  {
    const py::gil_scoped_release release;
    tensors = RunReference(graph, constant_tensors, input_tensors, options);
  }
  for (const auto& [name, tensor] : tensors) results[py::str(name)] = ToArray(tensor);
  return results;
}

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

py::tuple QuantizeBiasOnArrays(const FloatArray& bias, float input_scale,
                               const FloatArray& weight_scale) {
  const IntegerBias result =
      QuantizeBias({bias.data(), static_cast<std::size_t>(bias.size())}, input_scale,
                   {weight_scale.data(), static_cast<std::size_t>(weight_scale.size())});
  const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(result.codes.size())};
  py::array_t<std::int32_t> codes(shape, result.codes.data());
  py::array_t<bool> in_float(shape);
  for (std::size_t i = 0; i < result.in_float.size(); ++i)
    in_float.mutable_data()[i] = result.in_float[i] != 0;
  return py::make_tuple(codes, in_float);
}

std::string Text(const std::optional<std::int64_t>& value) {
  return value ? std::to_string(*value) : "None";
}

std::string Describe(const QuantParams& quant) {
  return "QuantParams(bits=" + std::to_string(quant.bits) + ", qmin=" + std::to_string(quant.qmin) +
         ", qmax=" + std::to_string(quant.qmax) + ", axis=" + Text(quant.axis) +
         ", group_size=" + Text(quant.group_size) + ", scale='" + quant.scale + "', zero_point='" +
         quant.zero_point + "')";
}

std::string Describe(const TensorInfo& info) {
  return "TensorInfo(shape=" + ShapeString(info.shape) + ", dtype='" +
         std::string(DTypeName(info.dtype)) + "', constant=" + (info.constant ? "True" : "False") +
         ", quant=" + (info.quant ? Describe(*info.quant) : "None") + ")";
}

std::string Describe(const Activation& activation) {
  if (activation.kind == Activation::Kind::kRelu) return "Activation('relu')";
  const auto number = [](const std::optional<double>& value) {
    return value ? py::repr(py::float_(*value)).cast<std::string>() : "None";
  };
  return "Activation('clamp', min=" + number(activation.min) + ", max=" + number(activation.max) +
         ")";
}

std::vector<std::optional<std::string>> InputsOrNone(const Node& node) {
  std::vector<std::optional<std::string>> inputs;
  for (const std::string& name : node.inputs) {
    inputs.push_back(name.empty() ? std::nullopt : std::optional(name));
  }
  return inputs;
}

void BindParts(py::module_& m) {
  py::class_<QuantParams>(m, "QuantParams", "Codes q stand for (q - zero_point) * scale.")
      .def_readonly("bits", &QuantParams::bits)
      .def_readonly("qmin", &QuantParams::qmin)
      .def_readonly("qmax", &QuantParams::qmax)
      .def_readonly("axis", &QuantParams::axis, "Axis of per-channel or grouped scales, or None.")
      .def_readonly("group_size", &QuantParams::group_size)
      .def_readonly("scale", &QuantParams::scale, "Name of the constant that holds the scales.")
      .def_readonly("zero_point", &QuantParams::zero_point)
      .def(py::self == py::self)
      .def("__repr__", [](const QuantParams& value) { return Describe(value); });
  py::class_<TensorInfo>(m, "TensorInfo",
                         "Shape (-1: dynamic), dtype and quantization of one tensor.")
      .def_readonly("shape", &TensorInfo::shape)
      .def_property_readonly(
          "dtype", [](const TensorInfo& info) { return std::string(DTypeName(info.dtype)); })
      .def_readonly("constant", &TensorInfo::constant)
      .def_readonly("quant", &TensorInfo::quant)
      .def(py::self == py::self)
      .def("__repr__", [](const TensorInfo& value) { return Describe(value); });
  py::class_<Activation>(m, "Activation",
                         "Fused into the node, in real values, before quantization.")
      .def_property_readonly(
          "kind",
          [](const Activation& a) { return a.kind == Activation::Kind::kRelu ? "relu" : "clamp"; })
      .def_readonly("min", &Activation::min)
      .def_readonly("max", &Activation::max)
      .def(py::self == py::self)
      .def("__repr__", [](const Activation& value) { return Describe(value); });
  py::class_<Node>(m, "Node", "One operation of a Graph.")
      .def_readonly("name", &Node::name)
      .def_readonly("op", &Node::op)
      .def_property_readonly("inputs", &InputsOrNone,
                             "Tensor names; None for an absent optional input.")
      .def_readonly("outputs", &Node::outputs)
      .def_property_readonly("attributes",
                             [](const Node& node) {
                               py::dict attributes;
                               for (const auto& [name, value] : node.attributes)
                                 attributes[py::str(name)] = py::cast(value);
                               return attributes;
                             })
      .def_readonly("activation", &Node::activation)
      .def_readonly("source", &Node::source, "The user's line, 'model.py:12'.")
      .def_property_readonly("executable", &IsExecutable, "False for 'aten.<name>'.")
      .def(py::self == py::self)
      .def("__repr__",
           [](const Node& node) { return "<edgeqat.Node '" + node.name + "': " + node.op + ">"; });
}

}  // namespace

void BindGraph(py::module_& m) {
  BindParts(m);
  py::class_<Graph>(
      m, "Graph",
      "A lowered model: tensors and nodes in the order in which they run. Read-only; the JSON "
      "of include/edgeqat/graph.h is its only source.")
      .def_static(
          "parse", [](const std::string& text) { return ParseGraph(text); }, py::arg("text"),
          "Reads and validates the JSON of a graph; raises FormatError naming the node and the "
          "field.")
      .def("serialize", &SerializeGraph, "The JSON with sorted keys; equal graphs give equal text.")
      .def_readonly("inputs", &Graph::inputs)
      .def_readonly("outputs", &Graph::outputs)
      .def_property_readonly(
          "tensors",
          [](const Graph& graph) {
            py::dict tensors;
            for (const auto& [name, info] : graph.tensors) tensors[py::str(name)] = py::cast(info);
            return tensors;
          },
          "dict[str, TensorInfo], sorted by name; a copy.")
      .def_readonly("nodes", &Graph::nodes, "list[Node] in execution order; a copy.")
      .def(py::self == py::self)
      .def("__repr__",
           [](const Graph& graph) {
             return "<edgeqat.Graph: " + std::to_string(graph.nodes.size()) + " nodes, " +
                    std::to_string(graph.tensors.size()) + " tensors>";
           })
      .def(py::pickle(
          [](const Graph& graph) { return py::make_tuple(SerializeGraph(graph)); },
          [](const py::tuple& state) { return ParseGraph(state[0].cast<std::string>()); }));
  m.def(
      "run_reference", &RunReferenceOnArrays, py::arg("graph"), py::arg("constants"),
      py::arg("inputs"), py::arg("keep") = py::none(), py::arg("threads") = 1,
      py::arg("keep_all") = false,
      "Runs a graph with integer arithmetic (include/edgeqat/reference.h); returns dict[str, "
      "ndarray].\n\n"
      "constants and inputs map tensor names to arrays; a tensor with quantization is given as "
      "codes or\n"
      "as float32, and returned as codes. inputs may name computed tensors, which are then taken "
      "as\n"
      "given. keep: the names to return, None for the graph's outputs; keep_all: every computed "
      "tensor.\n"
      "Raises ValueError for wrong arrays, NotImplementedError for aten ops and for sums that may\n"
      "overflow int32. The GIL is released while it runs.");
  m.def("quantize_bias", &QuantizeBiasOnArrays, py::arg("bias"), py::arg("input_scale"),
        py::arg("weight_scale"),
        "(codes int32[n], in_float bool[n]) of a bias at scale input_scale * weight_scale; where "
        "in_float is\n"
        "True the code does not fit int32 and is 0.");
  m.def("graph_ops", &KnownOps, "The ops of a Graph that the reference executes, sorted.");
}

}  // namespace edgeqat::python
