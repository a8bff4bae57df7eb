// SPDX-License-Identifier: Apache-2.0
// NumPy arrays as kernel arguments: element types, granularity, and the values of scales and zero
// points.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "edgeqat/error.h"
#include "edgeqat/quant_layout.h"

namespace edgeqat::python {

namespace py = pybind11;

[[noreturn]] inline void Fail(const std::string& op, const std::string& argument,
                              const std::string& expected, const std::string& found,
                              const std::string& next) {
  throw Error(ErrorCode::kInvalidArgument,
              op + ": " + argument + " must be " + expected + ", found " + found + ". " + next);
}

using Shape = std::vector<std::int64_t>;

inline Shape ShapeOf(const py::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

inline std::string Name(const Shape& shape) { return py::repr(py::tuple(py::cast(shape))); }

inline std::string DtypeName(const py::array& array) {
  return py::str(array.dtype().attr("name")).cast<std::string>();
}

// Row-major data; only a strided view is copied.
inline py::array RowMajor(const py::array& array) {
  return py::array::ensure(array, py::array::c_style);
}

inline FloatType FloatTypeOf(const std::string& op, const py::array& x) {
  const std::string name = DtypeName(x);
  if (name == "float32") return FloatType::kFloat32;
  if (name == "float16") return FloatType::kFloat16;
  if (name == "bfloat16") return FloatType::kBFloat16;
  Fail(op, "x", "float32, float16 or bfloat16 (of ml_dtypes)", name,
       "Convert it with x.astype(numpy.float32).");
}

// True for int8, false for uint8.
inline bool IsSigned(const std::string& op, const py::array& codes) {
  const std::string name = DtypeName(codes);
  if (name == "int8") return true;
  if (name == "uint8") return false;
  Fail(op, "codes", "int8 or uint8", name, "Use the result of quantize.");
}

inline void CheckRange(const std::string& op, std::int32_t qmin, std::int32_t qmax) {
  const bool fits = qmin < 0 ? (qmin >= -128 && qmax <= 127) : qmax <= 255;
  if (qmin < qmax && fits) return;
  Fail(op, "qmin, qmax", "qmin < qmax within [-128, 127] or [0, 255]",
       std::to_string(qmin) + ", " + std::to_string(qmax), "Use -128, 127 for int8.");
}

using Scales = py::array_t<float, py::array::c_style | py::array::forcecast>;
using ZeroPoints = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>;

// Integers of any width; a float would be cut off silently.
inline ZeroPoints ZeroPointsOf(const std::string& op, const py::object& zero_point) {
  const py::array array = py::array::ensure(zero_point);
  const char kind = array ? array.dtype().kind() : '?';
  if (kind == 'i' || kind == 'u') return ZeroPoints(array);
  PyErr_Clear();
  Fail(op, "zero_point", "an integer or an integer array", py::repr(zero_point),
       "Use .astype(numpy.int32).");
}

inline QuantLayout LayoutOf(const std::string& op, const py::array& x,
                            std::optional<std::int64_t> axis,
                            std::optional<std::int64_t> group_size) {
  const Shape shape = ShapeOf(x);
  if (!axis.has_value()) {
    if (group_size.has_value()) Fail(op, "axis", "given with group_size", "None", "Pass axis=-1.");
    return QuantLayout::PerTensor(x.size());
  }
  const std::int64_t dim = std::ssize(shape);
  if (*axis < -dim || *axis >= dim) {
    throw Error(ErrorCode::kOutOfRange, op + ": axis must be in [" + std::to_string(-dim) + ", " +
                                            std::to_string(dim) + "), found " +
                                            std::to_string(*axis) + ". Pass a dimension of x.");
  }
  const std::int64_t positive = *axis < 0 ? *axis + dim : *axis;
  return group_size.has_value() ? QuantLayout::PerGroup(shape, positive, *group_size)
                                : QuantLayout::PerChannel(shape, positive);
}

// Counts and values; a scale of any shape with the right number of elements is taken in row-major
// order.
inline void CheckQParams(const std::string& op, const QuantLayout& layout, const Scales& scale,
                         const ZeroPoints& zero_point, std::int32_t qmin, std::int32_t qmax) {
  const bool per_tensor = layout.num_scales() == 1;
  if (scale.size() != layout.num_scales()) {
    Fail(op, "scale", std::to_string(layout.num_scales()) + " values", Name(ShapeOf(scale)),
         per_tensor ? "Pass axis= for one scale per channel." : "One scale per channel or group.");
  }
  if (zero_point.size() != scale.size()) {
    Fail(op, "zero_point", "of scale's size " + std::to_string(scale.size()),
         std::to_string(zero_point.size()), "Both belong together.");
  }
  for (py::ssize_t i = 0; i < scale.size(); ++i) {
    const float s = scale.data()[i];
    const std::int32_t z = zero_point.data()[i];
    if (!(s > 0.0F && s <= std::numeric_limits<float>::max())) {
      Fail(op, "scale", "finite and above 0",
           std::to_string(s) + " at position " + std::to_string(i), "Use choose_qparams.");
    }
    if (z < qmin || z > qmax) {
      Fail(op, "zero_point", "in [" + std::to_string(qmin) + ", " + std::to_string(qmax) + "]",
           std::to_string(z) + " at position " + std::to_string(i), "Clamp it.");
    }
  }
}

}  // namespace edgeqat::python
