// SPDX-License-Identifier: Apache-2.0
// observe_fake_quantize_ on the CPU.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>
#include <vector>

#include "cpu/transpose_bits.h"
#include "edgeqat/observe_fake_quantize.h"
#include "edgeqat/observer.h"
#include "edgeqat/qparams.h"
#include "torch/alloc.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {
namespace {

// The running state of a quantizer: what the operator writes.
struct State {
  float* min_val;
  float* max_val;
  std::int64_t* count;
  float* scale;
  std::int32_t* zero_point;
  std::int64_t channels;

  // Whether a channel has no range yet: then the batch must give it one before it is quantized.
  [[nodiscard]] bool fresh() const {
    bool found = false;
    for (std::int64_t c = 0; c < channels; ++c) found |= min_val[c] > max_val[c];
    return found;
  }

  void Choose(std::int32_t qmin, std::int32_t qmax, bool symmetric) const {
    for (std::int64_t c = 0; c < channels; ++c) {
      const QParams qparams = ChooseQParams(min_val[c], max_val[c], qmin, qmax, symmetric);
      scale[c] = qparams.scale;
      zero_point[c] = qparams.zero_point;
    }
  }
};

}  // namespace

std::tuple<Tensor, Tensor> observe_fake_quantize__cpu(
    const Tensor& x, Tensor min_val, Tensor max_val, Tensor count, Tensor scale, Tensor zero_point,
    std::int64_t qmin, std::int64_t qmax, bool symmetric, std::optional<double> averaging,
    std::optional<std::int64_t> axis, const std::optional<Tensor>& mask, std::int64_t activation) {
  constexpr const char* kOp = "observe_fake_quantize_";
  ObserveFakeQuantizeArgs args;
  FakeQuantizeArgs& quantize = args.quantize;
  quantize.dtype = CheckFloat(kOp, "x", x);
  quantize.activation = CheckActivation(kOp, activation);
  CheckRange(kOp, qmin, qmax);
  const Granularity granularity =
      CheckQuantizerState(kOp, x, min_val, max_val, count, scale, zero_point, averaging, axis);
  CheckMask(kOp, mask, x);
  const std::int64_t bytes = (x.numel() + 7) / 8;
  Tensor bits = EmptyRowMajor({&bytes, 1}, ScalarType::Byte, x);
  const std::optional<Transposed> transposed = TransposedOf(Sizes(x), OrderOf(x));
  const Tensor kernel_bits =
      transposed.has_value() ? EmptyRowMajor({&bytes, 1}, ScalarType::Byte, x) : bits;
  Elementwise data = Prepare(x, x.scalar_type(), granularity, !transposed.has_value());
  if (x.numel() == 0) return {data.Finish(), bits};
  const LaidOutMask laid_out(mask, data.out);
  quantize.mask = laid_out.data();

  const State state = {
      min_val.mutable_data_ptr<float>(),           max_val.mutable_data_ptr<float>(),
      count.mutable_data_ptr<std::int64_t>(),      scale.mutable_data_ptr<float>(),
      zero_point.mutable_data_ptr<std::int32_t>(), min_val.numel()};
  quantize.layout = data.layout;
  quantize.x = data.x.const_data_ptr();
  quantize.scale = state.scale;
  quantize.zero_point = state.zero_point;
  quantize.qmin = static_cast<std::int32_t>(qmin);
  quantize.qmax = static_cast<std::int32_t>(qmax);
  quantize.y = data.out.mutable_data_ptr();
  quantize.bits = kernel_bits.mutable_data_ptr<std::uint8_t>();
  std::vector<float> low(state.channels);
  std::vector<float> high(state.channels);
  args.min = low.data();
  args.max = high.data();

  const bool fresh = state.fresh();
  if (!fresh) state.Choose(quantize.qmin, quantize.qmax, symmetric);
  const std::int64_t non_finite = edgeqat::observe_fake_quantize(args, TorchPool());
  UpdateMinmax(low.data(), high.data(), state.channels,
               static_cast<float>(averaging.value_or(-1.0)), state.min_val, state.max_val);
  state.count[0] += 1;
  state.count[1] += non_finite;
  if (fresh) {  // the pass above gave the range; what it quantized, without one, is written again
    state.Choose(quantize.qmin, quantize.qmax, symmetric);
    edgeqat::fake_quantize(quantize, TorchPool());
  }
  if (transposed.has_value()) {
    cpu::transpose_bits(transposed->batch, transposed->rows, transposed->columns, quantize.bits,
                        bits.mutable_data_ptr<std::uint8_t>(), TorchPool());
  }
  return {data.Finish(), bits};
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("observe_fake_quantize_", TORCH_BOX(&observe_fake_quantize__cpu));
}

}  // namespace edgeqat::torch_ops
