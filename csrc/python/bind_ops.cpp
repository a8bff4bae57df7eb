// SPDX-License-Identifier: Apache-2.0
// Forward-only NumPy twins of the operators over the same kernels, for notebooks and tools without
// torch.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "edgeqat/fake_quantize.h"
#include "edgeqat/isa.h"
#include "edgeqat/lsq_fake_quantize.h"
#include "edgeqat/observer.h"
#include "edgeqat/packing.h"
#include "edgeqat/qparams.h"
#include "edgeqat/quantize.h"
#include "python/bind.h"
#include "python/numpy_args.h"

namespace edgeqat::python {
namespace {

using OptionalInt = std::optional<std::int64_t>;
using Bytes = py::array_t<std::uint8_t, py::array::c_style>;

// The mask in row-major order, or an empty array without one.
py::array MaskOf(const std::string& op, const std::optional<py::array_t<bool>>& mask,
                 const py::array& x) {
  if (!mask.has_value()) return {};
  if (ShapeOf(*mask) != ShapeOf(x)) {
    Fail(op, "mask", "of x's shape " + Name(ShapeOf(x)), Name(ShapeOf(*mask)),
         "A mask has one value for each element.");
  }
  return RowMajor(*mask);
}

py::array FakeQuantize(const py::array& x, const Scales& scale, const py::object& zero_points,
                       std::int32_t qmin, std::int32_t qmax, OptionalInt axis,
                       OptionalInt group_size, const std::optional<py::array_t<bool>>& mask) {
  const std::string op = "fake_quantize";
  const ZeroPoints zero_point = ZeroPointsOf(op, zero_points);
  FakeQuantizeArgs args;
  args.dtype = FloatTypeOf(op, x);
  CheckRange(op, qmin, qmax);
  args.layout = LayoutOf(op, x, axis, group_size);
  CheckQParams(op, args.layout, scale, zero_point, qmin, qmax);
  const py::array data = RowMajor(x);
  py::array y(x.dtype(), ShapeOf(x));
  const py::array keep = MaskOf(op, mask, x);
  if (mask.has_value()) args.mask = static_cast<const std::uint8_t*>(keep.data());
  args.x = data.data();
  args.scale = scale.data();
  args.zero_point = zero_point.data();
  args.qmin = qmin;
  args.qmax = qmax;
  args.y = y.mutable_data();
  const py::gil_scoped_release release;
  fake_quantize(args);
  return y;
}

py::array Quantize(const py::array& x, const Scales& scale, const py::object& zero_points,
                   std::int32_t qmin, std::int32_t qmax, OptionalInt axis, OptionalInt group_size) {
  const std::string op = "quantize";
  const ZeroPoints zero_point = ZeroPointsOf(op, zero_points);
  QuantizeArgs args;
  args.dtype = FloatTypeOf(op, x);
  CheckRange(op, qmin, qmax);
  args.layout = LayoutOf(op, x, axis, group_size);
  CheckQParams(op, args.layout, scale, zero_point, qmin, qmax);
  const py::array data = RowMajor(x);
  py::array codes(qmin < 0 ? py::dtype::of<std::int8_t>() : py::dtype::of<std::uint8_t>(),
                  ShapeOf(x));
  args.x = data.data();
  args.scale = scale.data();
  args.zero_point = zero_point.data();
  args.qmin = qmin;
  args.qmax = qmax;
  args.codes = codes.mutable_data();
  const py::gil_scoped_release release;
  quantize(args);
  return codes;
}

py::array Dequantize(const py::array& codes, const Scales& scale, const py::object& zero_points,
                     OptionalInt axis, OptionalInt group_size) {
  const std::string op = "dequantize";
  const ZeroPoints zero_point = ZeroPointsOf(op, zero_points);
  DequantizeArgs args;
  args.is_signed = IsSigned(op, codes);
  args.layout = LayoutOf(op, codes, axis, group_size);
  CheckQParams(op, args.layout, scale, zero_point, args.is_signed ? -128 : 0,
               args.is_signed ? 127 : 255);
  const py::array data = RowMajor(codes);
  py::array_t<float> y(ShapeOf(codes));
  args.codes = data.data();
  args.scale = scale.data();
  args.zero_point = zero_point.data();
  args.y = y.mutable_data();
  const py::gil_scoped_release release;
  dequantize(args);
  return y;
}

std::tuple<py::array, py::array, std::int64_t> ObserveMinmax(
    const py::array& x, OptionalInt axis, const std::optional<py::array_t<bool>>& mask) {
  ObserveMinmaxArgs args;
  args.dtype = FloatTypeOf("observe_minmax", x);
  args.layout = LayoutOf("observe_minmax", x, axis, std::nullopt);
  const py::array data = RowMajor(x);
  py::array_t<float> low(args.layout.num_scales());
  py::array_t<float> high(args.layout.num_scales());
  const py::array keep = MaskOf("observe_minmax", mask, x);
  if (mask.has_value()) args.mask = static_cast<const std::uint8_t*>(keep.data());
  args.x = data.data();
  args.min = low.mutable_data();
  args.max = high.mutable_data();
  std::int64_t non_finite = 0;
  {
    const py::gil_scoped_release release;
    non_finite = observe_minmax(args);
  }
  return {low, high, non_finite};
}

std::tuple<py::array, py::array> ChooseQParamsArrays(const Scales& min_val, const Scales& max_val,
                                                     std::int32_t qmin, std::int32_t qmax,
                                                     bool symmetric) {
  if (ShapeOf(min_val) != ShapeOf(max_val)) {
    Fail("choose_qparams", "max_val", "of min_val's shape " + Name(ShapeOf(min_val)),
         Name(ShapeOf(max_val)), "Both come from one observer.");
  }
  py::array_t<float> scale(ShapeOf(min_val));
  py::array_t<std::int32_t> zero_point(ShapeOf(min_val));
  for (py::ssize_t i = 0; i < min_val.size(); ++i) {
    const QParams qparams =
        ChooseQParams(min_val.data()[i], max_val.data()[i], qmin, qmax, symmetric);
    scale.mutable_data()[i] = qparams.scale;
    zero_point.mutable_data()[i] = qparams.zero_point;
  }
  return {scale, zero_point};
}

py::array LearnedSteps(const Scales& scale, std::int32_t qmin, std::int32_t qmax,
                       const std::string& rule) {
  const std::string op = "learned_step";
  constexpr const char* kRules[] = {"lsq", "power_of_two", "pact"};
  const auto* const found = std::find(std::begin(kRules), std::end(kRules), rule);
  if (found == std::end(kRules)) {
    Fail(op, "rule", "'lsq', 'power_of_two' or 'pact'", "'" + rule + "'",
         "They differ in how the parameter becomes the step.");
  }
  CheckRange(op, qmin, qmax);
  for (py::ssize_t i = 0; i < scale.size(); ++i) {
    if (std::isfinite(scale.data()[i])) continue;
    Fail(op, "scale", "finite",
         std::to_string(scale.data()[i]) + " at position " + std::to_string(i),
         "A learned parameter that diverged: lower its learning rate or clip its gradient.");
  }
  py::array_t<float> step(ShapeOf(scale));
  learned_step({.scale = scale.data(),
                .count = scale.size(),
                .qmin = qmin,
                .qmax = qmax,
                .rule = static_cast<StepRule>(found - std::begin(kRules)),
                .step = step.mutable_data()});
  return step;
}

py::array Pack(const py::array& codes, int bits) {
  const bool is_signed = IsSigned("pack", codes);
  const py::array data = RowMajor(codes);
  py::array_t<std::uint8_t> packed(PackedBytes(codes.size(), bits));
  pack(data.data(), is_signed, codes.size(), bits, packed.mutable_data());
  return packed;
}

py::array Unpack(const Bytes& packed, int bits, const Shape& shape, bool is_signed) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) {
      Fail("unpack", "shape", "a tuple of sizes >= 0", Name(shape), "Pass the shape of the codes.");
    }
  }
  const std::int64_t expected = PackedBytes(count, bits);
  if (packed.ndim() != 1 || packed.size() != expected) {
    Fail("unpack", "packed", "of shape (" + std::to_string(expected) + ",)", Name(ShapeOf(packed)),
         "shape and bits must be those of pack.");
  }
  py::array codes(is_signed ? py::dtype::of<std::int8_t>() : py::dtype::of<std::uint8_t>(), shape);
  unpack(packed.data(), count, bits, is_signed, codes.mutable_data());
  return codes;
}

std::vector<std::string> AvailableIsaNames() {
  std::vector<std::string> names;
  for (const Isa isa : AvailableIsas()) names.emplace_back(IsaName(isa));
  return names;
}

constexpr const char* kFakeQuantizeDoc =
    R"(y = (clamp(round_half_even(x / scale) + zero_point, qmin, qmax) - zero_point) * scale.

Args:
    x: float32, float16 or (ml_dtypes) bfloat16 array of any shape.
    scale: float32, finite and above 0: one value (axis None), x.shape[axis] values, or with
        group_size x's shape with x.shape[axis] // group_size at the axis.
    zero_point: int32, as many values as scale, in [qmin, qmax].
    qmin, qmax: the code range, within [-128, 127] or [0, 255].
    axis: the dimension that has its own scales; negative counts from the end.
    group_size: number of consecutive elements along axis that share a scale.
    mask: bool array of x's shape; y is 0 where it is False.

Returns:
    An array of x's dtype and shape. NaN stays NaN, infinities saturate.

Raises:
    ValueError: a wrong dtype, shape or value. IndexError: axis outside the dimensions of x.

>>> import numpy as np
>>> from edgeqat import _C
>>> _C.fake_quantize(np.array([0.26, 0.75, 9.0], np.float32), 0.5, 0, -8, 7).tolist()
[0.5, 1.0, 3.5]
)";

constexpr const char* kQuantizeDoc =
    R"(Integer codes clamp(round_half_even(x / scale) + zero_point, qmin, qmax).

Arguments and errors as in fake_quantize. Returns int8 if qmin < 0, otherwise uint8, of x's shape. NaN becomes
the zero point, the code of 0.

>>> import numpy as np
>>> from edgeqat import _C
>>> _C.quantize(np.array([0.26, 0.75, 9.0], np.float32), 0.5, 0, -8, 7).tolist()
[1, 2, 7]
)";

constexpr const char* kDequantizeDoc =
    R"((codes - zero_point) * scale as float32, for int8 or uint8 codes of any shape.

scale, zero_point, axis, group_size and errors as in fake_quantize.

>>> import numpy as np
>>> from edgeqat import _C
>>> _C.dequantize(np.array([1, 2, 7], np.int8), 0.5, 0).tolist()
[0.5, 1.0, 3.5]
)";

constexpr const char* kObserveDoc =
    R"(Smallest and largest finite value, per tensor or per channel of axis.

Returns (min, max, non_finite): two float32 arrays of shape (1,) or (x.shape[axis],), and how many values were NaN
or infinite and therefore skipped. Without a finite value min is inf and max is -inf. Elements whose mask is False
are not there.

>>> import numpy as np
>>> from edgeqat import _C
>>> low, high, skipped = _C.observe_minmax(np.array([-1.0, 3.0, np.inf], np.float32))
>>> low.tolist(), high.tolist(), skipped
([-1.0], [3.0], 1)
)";

constexpr const char* kChooseDoc = R"(Scale and zero point for observed ranges, element by element.

symmetric: scale = max(|min|, |max|) / ((qmax - qmin) / 2), zero point 0 (qmin < 0) or (qmin + qmax + 1) // 2.
affine: the range is widened to contain 0, scale = (max - min) / (qmax - qmin),
zero_point = clamp(round_half_even(qmin - min / scale), qmin, qmax). A dead channel gets scale 1.

Returns (scale, zero_point): float32 and int32 arrays of min_val's shape. Raises ValueError for NaN, an infinite
bound, min > max, or a code range wider than 8 bits.

>>> from edgeqat import _C
>>> scale, zero_point = _C.choose_qparams([-1.0], [3.0], -128, 127, symmetric=False)
>>> zero_point.tolist()
[-64]
)";

constexpr const char* kLearnedStepDoc =
    R"(The step in use of learned scale parameters, positive for every finite one.

With m = max(abs(scale), 2**-100): m ('lsq'), the next power of two from m on ('power_of_two'), or
m / (qmax - qmin) ('pact'). Returns float32 of scale's shape. Raises ValueError for NaN, infinities and other rules.

>>> from edgeqat import _C
>>> _C.learned_step([-0.25, 5.0], 0, 15, rule="power_of_two").tolist()
[0.25, 8.0]
)";

constexpr const char* kPackDoc =
    R"(Packs int8 or uint8 codes into ceil(n * bits / 8) bytes; bits is 2, 4 or 8.

The values are taken in row-major order, the first one in the low bits (layout 'lsb-first-v1', the ONNX order).
Raises ValueError if a code does not fit.

>>> import numpy as np
>>> from edgeqat import _C
>>> [hex(byte) for byte in _C.pack(np.array([1, -2, 7], np.int8), 4)]
['0xe1', '0x7']
)";

constexpr const char* kUnpackDoc =
    R"(The inverse of pack: codes of the given shape, int8 if signed, otherwise uint8.

>>> import numpy as np
>>> from edgeqat import _C
>>> _C.unpack(np.array([0xE1, 0x07], np.uint8), 4, (3,), signed=True).tolist()
[1, -2, 7]
)";

}  // namespace

void BindOps(py::module_& m) {
  m.def("fake_quantize", &FakeQuantize, py::arg("x"), py::arg("scale"), py::arg("zero_point"),
        py::arg("qmin"), py::arg("qmax"), py::kw_only(), py::arg("axis") = py::none(),
        py::arg("group_size") = py::none(), py::arg("mask") = py::none(), kFakeQuantizeDoc);
  m.def("quantize", &Quantize, py::arg("x"), py::arg("scale"), py::arg("zero_point"),
        py::arg("qmin"), py::arg("qmax"), py::kw_only(), py::arg("axis") = py::none(),
        py::arg("group_size") = py::none(), kQuantizeDoc);
  m.def("dequantize", &Dequantize, py::arg("codes"), py::arg("scale"), py::arg("zero_point"),
        py::kw_only(), py::arg("axis") = py::none(), py::arg("group_size") = py::none(),
        kDequantizeDoc);
  m.def("observe_minmax", &ObserveMinmax, py::arg("x"), py::kw_only(), py::arg("axis") = py::none(),
        py::arg("mask") = py::none(), kObserveDoc);
  m.def("choose_qparams", &ChooseQParamsArrays, py::arg("min_val"), py::arg("max_val"),
        py::arg("qmin"), py::arg("qmax"), py::arg("symmetric"), kChooseDoc);
  m.def("learned_step", &LearnedSteps, py::arg("scale"), py::arg("qmin"), py::arg("qmax"),
        py::arg("rule") = "lsq", kLearnedStepDoc);
  m.def("pack", &Pack, py::arg("codes"), py::arg("bits"), kPackDoc);
  m.def("unpack", &Unpack, py::arg("packed"), py::arg("bits"), py::arg("shape"), py::arg("signed"),
        kUnpackDoc);
  m.def("available_isas", &AvailableIsaNames,
        "Names of the instruction sets that this build has and this CPU can run, slowest first.");
  m.def(
      "active_isa", [] { return std::string(IsaName(ActiveIsa())); },
      "Name of the instruction set in use; EDGEQAT_CPU_ISA forces one before the first kernel "
      "runs.");
}

}  // namespace edgeqat::python
