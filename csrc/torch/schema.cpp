// SPDX-License-Identifier: Apache-2.0
// Every operator schema of edgeqat, in the order in which data flows: observe, choose, simulate,
// convert, pack.
#include <torch/csrc/stable/library.h>

// Granularity is told by axis and group_size:
//   per tensor   axis=None                 scale.numel() == 1
//   per channel  axis=k                    scale.shape == [x.size(k)]
//   per group    axis=k, group_size=g      scale.shape == x.shape with x.size(k) / g at k
// scale is float32, finite and > 0; zero_point is int32, of scale's shape, in [qmin, qmax].
// x is float32, float16 or bfloat16; float64 is refused.
STABLE_TORCH_LIBRARY(edgeqat, m) {
  // Running minimum and maximum of the finite values; min_val, max_val float32 [1] or
  // [x.size(axis)], starting at +inf, -inf; count int64 [2] += {1, number of non-finite values}.
  // averaging=c: the first batch sets the state, then state += c * (batch - state). An empty x
  // changes nothing, and neither does a channel without finite values its own state. mask (bool,
  // x's shape): elements where it is False are not there.
  m.def(
      "observe_minmax_(Tensor x, Tensor(a!) min_val, Tensor(b!) max_val, Tensor(c!) count, "
      "float? averaging=None, int? axis=None, Tensor? mask=None) -> ()");

  // Element-wise over float32 min_val, max_val of equal shape -> float32 scale, int32 zero_point.
  m.def(
      "choose_qparams(Tensor min_val, Tensor max_val, int qmin, int qmax, bool symmetric) "
      "-> (Tensor scale, Tensor zero_point)");

  // y = (clamp(round_half_even(a / scale) + zero_point, qmin, qmax) - zero_point) * scale, in x's
  // dtype and with the strides of empty_like(x). mask (bool, x's shape): +0 where False.
  // activation: a = x, relu(x), relu6(x) or hardswish(x) for 0 to 3 (edgeqat/activation.h). No `*`
  // before axis: torch.library refuses vmap and autograd formulas for keyword-only tensors.
  m.def(
      "fake_quantize(Tensor x, Tensor scale, Tensor zero_point, int qmin, int qmax, "
      "int? axis=None, SymInt? group_size=None, Tensor? mask=None, int activation=0) -> Tensor");

  // The same y, and bits uint8 [ceil(n / 8)]: bit e % 8 of byte e / 8 tells that element e, counted
  // in row-major order of x's shape whatever its strides, was in range and not masked out, and that
  // relu or relu6 did not cut it off.
  m.def(
      "fake_quantize_train(Tensor x, Tensor scale, Tensor zero_point, int qmin, int qmax, "
      "int? axis=None, SymInt? group_size=None, Tensor? mask=None, int activation=0) "
      "-> (Tensor y, Tensor bits)");

  // grad where the bit is set, otherwise +0; strides of empty_like(grad). Only hardswish needs x:
  // grad * hardswish'(x) then.
  m.def(
      "fake_quantize_backward(Tensor grad, Tensor bits, Tensor? x=None, int activation=0) "
      "-> Tensor");

  // fake_quantize_train with the range known before this batch, and observe_minmax_ of
  // activation(x) for the next one, in one read. scale and zero_point are set to choose_qparams of
  // min_val, max_val as they come in, then y and bits are computed with them, and the state is
  // updated. Where a channel has no range yet (min_val > max_val) the batch is observed first and
  // read again. mask: as in both.
  m.def(
      "observe_fake_quantize_(Tensor x, Tensor(a!) min_val, Tensor(b!) max_val, Tensor(c!) count, "
      "Tensor(d!) scale, Tensor(e!) zero_point, int qmin, int qmax, bool symmetric, "
      "float? averaging=None, int? axis=None, Tensor? mask=None, int activation=0) "
      "-> (Tensor y, Tensor bits)");

  // The step in use of a learned scale parameter, > 0 for every finite one. rule: 0 lsq,
  // 1 power_of_two, 2 pact (edgeqat/learned_step.h). Float32, scale's shape.
  m.def("learned_step(Tensor scale, int qmin, int qmax, int rule=0) -> Tensor");

  // fake_quantize with step = learned_step(scale) and zero point clamp(rint(-offset / step), qmin,
  // qmax), or 0. offset: float32, scale's shape. What follows rule is for the gradient alone:
  // grad_scale None is 1 / sqrt(n * qmax), n elements to a scale; delta is EWGS's; damping pulls x
  // to the grid; save 0 keeps x, save 1 the residual.
  m.def(
      "lsq_fake_quantize(Tensor x, Tensor scale, int qmin, int qmax, int? axis=None, "
      "SymInt? group_size=None, Tensor? offset=None, Tensor? mask=None, int activation=0, "
      "int rule=0, float? grad_scale=None, float delta=0.0, float damping=0.0, int save=0) "
      "-> Tensor");

  // The same y, and residual int8 in the shape and strides of y: rint(253 * (rint(v) - v)) for
  // v = x / step, or a mark (edgeqat/lsq_fake_quantize.h). Not for hardswish.
  m.def(
      "lsq_fake_quantize_train(Tensor x, Tensor scale, int qmin, int qmax, int? axis=None, "
      "SymInt? group_size=None, Tensor? offset=None, Tensor? mask=None, int activation=0, "
      "int rule=0, float? grad_scale=None, float delta=0.0) -> (Tensor y, Tensor residual)");

  // The gradients of x (strides of empty_like(x)), scale and offset (empty without an offset).
  m.def(
      "lsq_fake_quantize_backward(Tensor grad, Tensor x, Tensor scale, int qmin, int qmax, "
      "int? axis=None, SymInt? group_size=None, Tensor? offset=None, Tensor? mask=None, "
      "int activation=0, int rule=0, float? grad_scale=None, float delta=0.0, "
      "float damping=0.0) -> (Tensor, Tensor, Tensor)");

  // The same from the residual.
  m.def(
      "lsq_fake_quantize_compact_backward(Tensor grad, Tensor residual, Tensor scale, int qmin, "
      "int qmax, int? axis=None, SymInt? group_size=None, Tensor? offset=None, int activation=0, "
      "int rule=0, float? grad_scale=None, float delta=0.0) -> (Tensor, Tensor, Tensor)");

  // lsq_fake_quantize of many tensors, such as all weights of a model; lists of one length. axis
  // -2147483648: per tensor; group_size 0: none.
  m.def(
      "lsq_fake_quantize_multi(Tensor[] x, Tensor[] scale, int[] qmin, int[] qmax, int[] axis, "
      "int[] group_size, int rule=0, float? grad_scale=None, float delta=0.0, float damping=0.0) "
      "-> Tensor[]");

  // The gradients of all x, then those of all scales.
  m.def(
      "lsq_fake_quantize_multi_backward(Tensor[] grad, Tensor[] x, Tensor[] scale, int[] qmin, "
      "int[] qmax, int[] axis, int[] group_size, int rule=0, float? grad_scale=None, "
      "float delta=0.0, float damping=0.0) -> Tensor[]");

  // y is -scale, 0 or scale: threshold 0.7 * mean |x|, scale the mean of what exceeds it, over the
  // finite elements that the mask keeps. scale as the granularity has it. The gradient is that of
  // the identity where the mask is True.
  m.def(
      "ternary_fake_quantize(Tensor x, int? axis=None, SymInt? group_size=None, "
      "Tensor? mask=None) -> (Tensor y, Tensor scale)");

  // fake_quantize of tanh(x) / tanh(max |x|) with the scale 1 / qmax; qmin <= -qmax.
  m.def(
      "dorefa_fake_quantize(Tensor x, int qmin, int qmax, int? axis=None, SymInt? group_size=None, "
      "Tensor? mask=None) -> Tensor");

  // grad * (1 - tanh(x)^2) / tanh(max |x|), +0 where the mask is False; strides of empty_like(x).
  m.def(
      "dorefa_fake_quantize_backward(Tensor grad, Tensor x, int? axis=None, "
      "SymInt? group_size=None, Tensor? mask=None) -> Tensor");

  // Every row of the last axis has its own range: choose_qparams of the row's finite minimum and
  // maximum, then fake_quantize. The gradient is that of the identity.
  m.def("per_token_fake_quantize(Tensor x, int qmin, int qmax, bool symmetric) -> Tensor");

  // After an optimizer step: frequency of oscillation of every weight, and freezing of those that
  // oscillate too often; edgeqat/oscillation.h has the rule. The state has weight's shape: codes,
  // direction int8, frequency, mean_code float32 (NaN: not seen yet), frozen bool. A frozen weight
  // becomes (round(mean_code) - zero_point) * scale. freeze_threshold=None: counts only.
  m.def(
      "oscillation_update_(Tensor(a!) weight, Tensor scale, Tensor zero_point, int qmin, int qmax, "
      "Tensor(b!) codes, Tensor(c!) direction, Tensor(d!) frequency, Tensor(e!) mean_code, "
      "Tensor(f!) frozen, float momentum, float? freeze_threshold=None, int? axis=None, "
      "SymInt? group_size=None) -> ()");

  // Codes: int8 if qmin < 0, otherwise uint8; strides of empty_like(x). NaN gives the zero point.
  m.def(
      "quantize(Tensor x, Tensor scale, Tensor zero_point, int qmin, int qmax, *, "
      "int? axis=None, SymInt? group_size=None) -> Tensor");

  // (codes - zero_point) * scale, float32; strides of empty_like(codes).
  m.def(
      "dequantize(Tensor codes, Tensor scale, Tensor zero_point, *, int? axis=None, "
      "SymInt? group_size=None) -> Tensor");

  // int8 or uint8 codes, row-major, to uint8 [ceil(n * bits / 8)], the first value in the low bits
  // (layout lsb-first-v1); bits is 2, 4 or 8.
  m.def("pack(Tensor codes, int bits) -> Tensor");

  // The inverse: contiguous int8 (signed) or uint8 of the given shape.
  m.def("unpack(Tensor packed, int bits, SymInt[] shape, bool signed) -> Tensor");
}
