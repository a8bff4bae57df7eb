// SPDX-License-Identifier: Apache-2.0
// Recipe, TensorPlan, LayerPlan and Plan for Python.
#include <pybind11/operators.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>

#include "core/plan_fields.h"
#include "core/recipe_fields.h"
#include "edgeqat/plan.h"
#include "python/bind.h"
#include "python/record.h"

namespace edgeqat::python {
namespace {

using internal::kRecipeFields;
using internal::kTensorFields;
using internal::Map;
using internal::Origin;
using Dict = py::typing::Dict<py::str, py::object>;

constexpr const char* kTensorDoc = R"(The decision about one tensor.

Assigning to `bits` (None leaves the tensor float) or to another field of the format checks the new value at once.

Attributes:
    name: the tensor's name; weights carry their parameter's name.
    status: "quantized"; "fused": it exists only inside a merged operator; "shared": it carries the values and the scale of
        another tensor; "float": see `note`.
    bits: width, or None for float.
    symmetric: the zero point is 0 and the range is centred on it.
    granularity: "tensor", "channel" or "group", as in `QuantSpec`.
    axis: the channel or group axis, or None.
    group_size: values that share one scale, or None.
    narrow_range: the lowest code is left out.
    shape: -1 for sizes that may change.
    source: the user's source line, ``file.py:12``.
    note: the reason it stays float, or what it is fused into or shares with.
    fixed_range: range known beforehand, such as (0, 1) for softmax.

Example:
    >>> from edgeqat.quantization.plan import TensorPlan
    >>> tensor = TensorPlan("fc.weight", "quantized", 8, granularity="channel", axis=0, shape=(10, 64))
    >>> tensor.bits = 4
    >>> tensor.spec.qmin, tensor.spec.qmax
    (-8, 7)
    >>> tensor.bits = 9
    Traceback (most recent call last):
    ...
    ValueError: plan: fc.weight.bits must be none or an integer in 2..8, found 9
)";

const Origin kPlanOrigin = {ErrorCode::kInvalidArgument, "plan: "};

void BindRecipe(py::module_& m) {
  py::class_<Recipe> cls(m, "Recipe",
                         "A validated recipe: keyword arguments as in edgeqat.Recipe, which holds "
                         "one. ValueError naming the field.");
  cls.def(py::init([](const py::kwargs& fields) {
    return internal::ReadRecipe(FromPython(fields), {ErrorCode::kInvalidArgument, "Recipe: "});
  }));
  cls.def_static("named", &NamedRecipe, py::arg("name"),
                 "The recipe called 'int8', 'int4' or 'w<bits>a<bits>'; ValueError.");
  cls.def_static(
      "parse", [](const std::string& text) { return ParseRecipe(text); }, py::arg("text"),
      "The recipe in JSON text; ValueError.");
  DefineReadOnly<Recipe>(cls, kRecipeFields);
  cls.def_property_readonly(
         "overrides",
         [](const Recipe& recipe) {
           py::tuple pairs = ToPython(internal::RecipeMap(recipe).back().second);
           for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = py::tuple(pairs[i]);
           return py::typing::Tuple<py::typing::Tuple<py::str, Dict>, py::ellipsis>(pairs);
         },
         "(pattern, {field: value}) pairs.")
      .def(
          "to_dict",
          [](const Recipe& recipe) { return Dict(ToPython({internal::RecipeMap(recipe)})); },
          "Plain data for JSON and YAML.")
      .def("serialize", &SerializeRecipe, "The JSON text that `parse` reads.")
      .def(py::self == py::self)
      .def("__hash__",
           [](const Recipe& recipe) { return py::hash(py::str(SerializeRecipe(recipe))); })
      .def("__repr__", [](const Recipe& recipe) { return Repr("Recipe", recipe, kRecipeFields); })
      .def(py::pickle(
          [](const Recipe& recipe) { return py::make_tuple(SerializeRecipe(recipe)); },
          [](const py::tuple& state) { return ParseRecipe(state[0].cast<std::string>()); }));
}

// Fields of the format are edited under the rules of EditTensor, the others just set.
template <typename Row>
void SetTensorField(TensorPlan& tensor, const Row& row, const py::object& given) {
  const Origin origin = kPlanOrigin.Inside(tensor.name + ".");
  const internal::Value value = FromPython(given);
  const auto format = internal::FieldNames(internal::kQuantSpecFields);
  if (std::ranges::find(format, row.name) == format.end()) {
    SetField(tensor, row, value, origin);
  } else {
    EditTensor(tensor, [&](TensorPlan& edited) { SetField(edited, row, value, origin); });
  }
}

template <typename Class>
void BindTensorFields(Class& cls) {
  std::apply(
      [&](const auto&... row) {
        const auto define = [&]<typename Row>(const Row& field) {
          cls.def_property(
              std::string(field.name).c_str(),
              [member = field.member](const TensorPlan& t) { return Shown(t.*member); },
              [field](TensorPlan& t, const Argument<typename Row::Member>& value) {
                SetTensorField(t, field, value);
              });
        };
        (define(row), ...);
      },
      kTensorFields);
}

void BindTensor(py::module_& m) {
  py::class_<TensorPlan> cls(m, "TensorPlan", kTensorDoc);
  using OptionalInt = std::optional<std::int64_t>;
  using Shape = std::vector<std::int64_t>;
  using Range = std::optional<std::array<double, 2>>;
  cls.def(py::init([](const Argument<std::string>& name, const Argument<TensorStatus>& status,
                      const Argument<std::optional<int>>& bits, const Argument<bool>& symmetric,
                      const Argument<Granularity>& granularity, const Argument<OptionalInt>& axis,
                      const Argument<OptionalInt>& group_size, const Argument<bool>& narrow_range,
                      const Argument<Shape>& shape, const Argument<std::string>& source,
                      const Argument<std::string>& note, const Argument<Range>& fixed_range) {
            const auto tensor = FromArguments<TensorPlan>(
                kTensorFields, kPlanOrigin, name, status, bits, symmetric, granularity, axis,
                group_size, narrow_range, shape, source, note, fixed_range);
            internal::CheckTensor(tensor, kPlanOrigin.Inside(tensor.name + "."));
            return tensor;
          }),
          py::arg("name"), py::arg("status"), py::arg("bits"), py::arg("symmetric") = true,
          py::arg("granularity") = "tensor", py::arg("axis") = py::none(),
          py::arg("group_size") = py::none(), py::arg("narrow_range") = false,
          py::arg("shape") = py::tuple(), py::arg("source") = "", py::arg("note") = "",
          py::arg("fixed_range") = py::none());
  BindTensorFields(cls);
  cls.def_property_readonly("spec", &TensorPlan::Spec,
                            "The number format; ValueError where the tensor stays float.")
      .def(py::self == py::self)
      .def("__repr__",
           [](const TensorPlan& tensor) { return Repr("TensorPlan", tensor, kTensorFields); })
      .def(py::pickle([](const TensorPlan& tensor) { return Members(tensor, kTensorFields); },
                      [](const py::tuple& s) {
                        return FromArguments<TensorPlan>(kTensorFields, kPlanOrigin, s[0], s[1],
                                                         s[2], s[3], s[4], s[5], s[6], s[7], s[8],
                                                         s[9], s[10], s[11]);
                      }));
}

void BindLayer(py::module_& m) {
  const auto make = [](std::string name, std::string op, TensorPlan output,
                       std::optional<TensorPlan> weight, std::optional<TensorPlan> input) {
    return LayerPlan{std::move(name), std::move(op), std::move(output), std::move(weight),
                     std::move(input)};
  };
  py::class_<LayerPlan>(m, "LayerPlan", "The tensors of one operator; copies.")
      .def(py::init(make), py::arg("name"), py::arg("operator"), py::arg("output"),
           py::arg("weight") = py::none(), py::arg("input") = py::none())
      .def_readonly("name", &LayerPlan::name)
      .def_readonly("operator", &LayerPlan::op)
      .def_property_readonly("output", [](const LayerPlan& layer) { return layer.output; })
      .def_property_readonly("weight", [](const LayerPlan& layer) { return layer.weight; })
      .def_property_readonly("input", [](const LayerPlan& layer) { return layer.input; })
      .def(py::self == py::self)
      .def("__repr__",
           [](const LayerPlan& layer) {
             return "<edgeqat.LayerPlan '" + layer.name + "': " + layer.op + ">";
           })
      .def(py::pickle(
          [](const LayerPlan& layer) {
            return py::make_tuple(layer.name, layer.op, layer.output, layer.weight, layer.input);
          },
          [make](const py::tuple& s) {
            return make(s[0].cast<std::string>(), s[1].cast<std::string>(), s[2].cast<TensorPlan>(),
                        s[3].cast<std::optional<TensorPlan>>(),
                        s[4].cast<std::optional<TensorPlan>>());
          }));
}

Plan MakePlan(Recipe recipe, std::string target, PlanMode mode, bool dynamic_batch,
              std::vector<std::vector<std::string>> shared_groups, std::vector<LayerPlan> layers) {
  Plan plan{std::move(recipe), std::move(target),        mode,
            dynamic_batch,     std::move(shared_groups), std::move(layers)};
  ValidatePlan(plan);
  return plan;
}

void BindWholePlan(py::module_& m) {
  py::class_<Plan>(m, "Plan",
                   "A validated plan, as include/edgeqat/plan.h describes it; edgeqat.Plan makes "
                   "one for JSON and for the target. ValueError naming the field.")
      .def(py::init(&MakePlan), py::kw_only(), py::arg("recipe"), py::arg("target"),
           py::arg("mode"), py::arg("dynamic_batch"), py::arg("shared_groups"), py::arg("layers"))
      .def_static(
          "parse",
          [](const std::string& text) {
            const py::gil_scoped_release release;
            return ParsePlan(text);
          },
          py::arg("text"), "The plan in JSON text; FormatError naming the field.")
      .def_static(
          "from_dict",
          [](const py::object& data) {
            return internal::ReadPlan(FromPython(data), internal::DamagedPlan());
          },
          py::arg("data"), "The plan in plain data; FormatError naming the field.")
      .def("serialize", &SerializePlan, "The JSON text that `parse` reads, on one line.")
      .def(
          "to_dict", [](const Plan& plan) { return Dict(ToPython(internal::PlanValue(plan))); },
          "Plain data for JSON.")
      .def("check", &CheckPlan, py::arg("target"),
           "ValueError where the target cannot store or compute a width or granularity.")
      .def_readonly("recipe", &Plan::recipe)
      .def_readonly("target", &Plan::target)
      .def_property_readonly("mode", [](const Plan& plan) { return plan.mode; })
      .def_readonly("dynamic_batch", &Plan::dynamic_batch)
      .def_readonly("shared_groups", &Plan::shared_groups, "A copy.")
      .def_readonly("layers", &Plan::layers, "In the order of the graph; a copy.")
      .def(py::self == py::self)
      .def("__repr__",
           [](const Plan& plan) {
             return "<edgeqat.Plan: " + std::to_string(plan.layers.size()) + " layers, target " +
                    plan.target + ">";
           })
      .def(py::pickle(
          [](const Plan& plan) { return py::make_tuple(SerializePlan(plan)); },
          [](const py::tuple& state) { return ParsePlan(state[0].cast<std::string>()); }));
}

}  // namespace

void BindPlan(py::module_& m) {
  BindRecipe(m);
  BindTensor(m);
  BindLayer(m);
  BindWholePlan(m);
}

}  // namespace edgeqat::python
