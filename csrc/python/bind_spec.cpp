// SPDX-License-Identifier: Apache-2.0
// QuantSpec and Target for Python.
#include <pybind11/operators.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/quant_spec_fields.h"
#include "edgeqat/quant_spec.h"
#include "edgeqat/target.h"
#include "python/bind.h"
#include "python/record.h"

namespace edgeqat::python {

// A frozenset[str]; pybind11's own type says nothing of the elements.
class Names : public py::frozenset {
 public:
  using py::frozenset::frozenset;
};

}  // namespace edgeqat::python

namespace pybind11::detail {
template <>
struct handle_type_name<edgeqat::python::Names> {
  static constexpr auto name = const_name("frozenset[str]");
};
}  // namespace pybind11::detail

namespace edgeqat::python {
namespace {

using internal::kQuantSpecFields;

constexpr const char* kQuantSpecDoc =
    R"(Signed integer codes ``q`` in ``[qmin, qmax]`` that stand for ``(q - zero_point) * scale``.

Args:
    bits: width of a code, 2 to 8.
    symmetric: the zero point is 0 and the range is centred on it.
    granularity: one scale for the tensor, for each index of ``axis`` ("channel"), or for each
        run of ``group_size`` values along ``axis`` ("group").
    axis: the channel or group axis; None for "tensor".
    group_size: values that share one scale; only for "group".
    narrow_range: leave out the lowest code, so that the range is symmetric: -127..127, -7..7.

Raises:
    ValueError: a field is out of range or contradicts another one.

Example:
    >>> from edgeqat import QuantSpec
    >>> spec = QuantSpec(bits=4, granularity="channel", axis=0)
    >>> spec.qmin, spec.qmax
    (-8, 7)
)";

constexpr const char* kTargetDoc = R"(What a runtime or chip executes on integers.

Args:
    name: how recipes and `plan(target=...)` call it.
    weight_bits: widths of weights it stores.
    activation_bits: widths of activations it computes with.
    granularities: weight granularities it accepts.
    shared_scale_operators: operators whose inputs and output must have one scale.
    float_operators: operators it runs in float, with the reason that the report shows.
    requantization: the rounding rule of its integer kernels (docs/numerics.md).

Example:
    >>> from edgeqat import Target
    >>> chip = Target("chip", weight_bits=(8,), float_operators=frozenset({"gelu"}))
    >>> chip.supports("conv"), chip.supports("gelu")
    (True, False)
)";

template <typename T>
using Tuple = py::typing::Tuple<T, py::ellipsis>;

QuantSpec Spec(const py::object& bits, const py::object& symmetric, const py::object& granularity,
               const py::object& axis, const py::object& group_size,
               const py::object& narrow_range) {
  const auto spec =
      FromArguments<QuantSpec>(kQuantSpecFields, {ErrorCode::kInvalidArgument, "QuantSpec: "}, bits,
                               symmetric, granularity, axis, group_size, narrow_range);
  ValidateQuantSpec(spec);
  return spec;
}

void BindQuantSpec(py::module_& m) {
  py::class_<QuantSpec> cls(m, "QuantSpec", kQuantSpecDoc);
  cls.def(py::init([](const Argument<int>& bits, const Argument<bool>& symmetric,
                      const Argument<Granularity>& granularity,
                      const Argument<std::optional<std::int64_t>>& axis,
                      const Argument<std::optional<std::int64_t>>& group_size,
                      const Argument<bool>& narrow_range) {
            return Spec(bits, symmetric, granularity, axis, group_size, narrow_range);
          }),
          py::arg("bits"), py::arg("symmetric") = true, py::arg("granularity") = "tensor",
          py::arg("axis") = py::none(), py::arg("group_size") = py::none(),
          py::arg("narrow_range") = false);
  DefineReadOnly<QuantSpec>(cls, kQuantSpecFields);
  cls.def_property_readonly("qmin", &QuantSpec::qmin, "The lowest code.")
      .def_property_readonly("qmax", &QuantSpec::qmax, "The highest code.")
      .def(
          "scale_shape",
          [](const QuantSpec& spec, const std::vector<std::int64_t>& shape) {
            return Shown(spec.ScaleShape(shape));
          },
          py::arg("shape"),
          "Shape of the scale of a tensor of `shape`: [1], [C], or grouped (see `fake_quantize`).")
      .def(
          "to_dict",
          [](const QuantSpec& spec) {
            return py::typing::Dict<py::str, py::object>(
                ToPython({internal::ToMap(spec, kQuantSpecFields)}));
          },
          "Plain data; `QuantSpec(**d)` restores it.")
      .def(
          "replace",
          [](const QuantSpec& spec, const py::kwargs& changes) {
            internal::Map map = internal::ToMap(spec, kQuantSpecFields);
            for (const auto& [key, value] : changes)
              map.emplace_back(key.cast<std::string>(), FromPython(value));
            QuantSpec changed;
            internal::SetFields(changed, map, kQuantSpecFields,
                                {ErrorCode::kInvalidArgument, "QuantSpec: "});
            ValidateQuantSpec(changed);
            return changed;
          },
          "A copy with some fields changed.")
      .def(py::self == py::self)
      .def("__hash__",
           [](const QuantSpec& spec) { return py::hash(Members(spec, kQuantSpecFields)); })
      .def("__repr__",
           [](const QuantSpec& spec) { return Repr("QuantSpec", spec, kQuantSpecFields); })
      .def(py::pickle([](const QuantSpec& spec) { return Members(spec, kQuantSpecFields); },
                      [](const py::tuple& state) {
                        return Spec(state[0], state[1], state[2], state[3], state[4], state[5]);
                      }));
}

template <typename T>
Tuple<T> AsTuple(const auto& items) {
  return Tuple<T>(py::tuple(py::cast(items)));
}

py::tuple State(const Target& target) {
  return py::make_tuple(target.name, AsTuple<py::int_>(target.weight_bits),
                        AsTuple<py::int_>(target.activation_bits),
                        AsTuple<Granularity>(target.granularities),
                        py::frozenset(py::cast(target.shared_scale_operators)),
                        py::frozenset(py::cast(target.float_operators)), target.requantization);
}

using Operators = std::set<std::string, std::less<>>;

Target MakeTarget(std::string name, std::vector<int> weight_bits, std::vector<int> activation_bits,
                  std::vector<Granularity> granularities, Operators shared, Operators in_float,
                  std::string requantization) {
  return {std::move(name),          std::move(weight_bits), std::move(activation_bits),
          std::move(granularities), std::move(shared),      std::move(in_float),
          std::move(requantization)};
}

void BindTarget(py::module_& m) {
  const py::tuple defaults = State(Target{});
  py::class_<Target>(m, "Target", kTargetDoc)
      .def(py::init(&MakeTarget), py::arg("name"), py::arg("weight_bits") = defaults[1],
           py::arg("activation_bits") = defaults[2], py::arg("granularities") = defaults[3],
           py::arg("shared_scale_operators") = py::frozenset(py::set()),
           py::arg("float_operators") = py::frozenset(py::set()),
           py::arg("requantization") = "f32_even")
      .def_readonly("name", &Target::name)
      .def_property_readonly("weight_bits",
                             [](const Target& t) { return AsTuple<py::int_>(t.weight_bits); })
      .def_property_readonly("activation_bits",
                             [](const Target& t) { return AsTuple<py::int_>(t.activation_bits); })
      .def_property_readonly("granularities",
                             [](const Target& t) { return AsTuple<Granularity>(t.granularities); })
      .def_property_readonly(
          "shared_scale_operators",
          [](const Target& t) { return Names(py::cast(t.shared_scale_operators)); })
      .def_property_readonly("float_operators",
                             [](const Target& t) { return Names(py::cast(t.float_operators)); })
      .def_readonly("requantization", &Target::requantization)
      .def("supports", &Target::Supports, py::arg("operator"),
           "Whether `operator` (a name of `edgeqat.graph.operators`) runs on integers.")
      .def(py::self == py::self)
      .def("__hash__", [](const Target& target) { return py::hash(State(target)); })
      .def("__repr__",
           [](const Target& target) { return "<edgeqat.Target '" + target.name + "'>"; })
      .def(py::pickle(&State, [](const py::tuple& s) {
        return MakeTarget(s[0].cast<std::string>(), s[1].cast<std::vector<int>>(),
                          s[2].cast<std::vector<int>>(), s[3].cast<std::vector<Granularity>>(),
                          s[4].cast<Operators>(), s[5].cast<Operators>(), s[6].cast<std::string>());
      }));
  m.def(
      "targets",
      [] {
        const auto all = Targets();
        return std::vector<Target>(all.begin(), all.end());
      },
      "Every target of the library, sorted by name.");
  m.def("find_target", &FindTarget, py::arg("name"), py::return_value_policy::copy,
        "The target of that name. ValueError listing the names there are.");
}

}  // namespace

void BindSpec(py::module_& m) {
  BindQuantSpec(m);
  BindTarget(m);
}

}  // namespace edgeqat::python
