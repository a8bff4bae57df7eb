// SPDX-License-Identifier: Apache-2.0
// observe_fake_quantize_ on CUDA, emulated: y, bits and state of several batches against the scalar
// reference.
#include "cuda/observe_fake_quantize.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/reference/observe_fake_quantize_ref.h"
#include "cuda/kernel_cases.h"
#include "edgeqat/observer.h"
#include "edgeqat/qparams.h"

namespace edgeqat::cuda {
namespace {

struct State {
  explicit State(std::int64_t channels)
      : min(static_cast<std::size_t>(channels), INFINITY),
        max(min.size(), -INFINITY),
        scale(min.size(), 1.0f),
        zero_point(min.size(), 0) {}

  std::vector<float> min, max, scale;
  std::vector<std::int32_t> zero_point;
  std::int64_t count[2] = {0, 0};
};

template <typename T>
class ObserveFakeQuantizeCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  static FakeQuantizeArgs Args(const QuantLayout& layout, const T* x, const State& state, T* y,
                               std::uint8_t* bits, ActivationKind activation,
                               const std::uint8_t* mask = nullptr) {
    return {.dtype = TypeOf<T>(),
            .layout = layout,
            .x = x,
            .scale = state.scale.data(),
            .zero_point = state.zero_point.data(),
            .qmin = -8,
            .qmax = 7,
            .mask = mask,
            .y = y,
            .bits = bits,
            .activation = activation};
  }

  static void OnDevice(const FakeQuantizeArgs& quantize, float averaging, State& state) {
    const ObserveFakeQuantizePlan plan = PlanObserveFakeQuantize(quantize.layout);
    const Buffer<char> workspace(plan.workspace_bytes());
    observe_fake_quantize_update({.quantize = quantize,
                                  .symmetric = false,
                                  .averaging = averaging,
                                  .min_val = state.min.data(),
                                  .max_val = state.max.data(),
                                  .scale = state.scale.data(),
                                  .zero_point = state.zero_point.data(),
                                  .count = state.count,
                                  .workspace = workspace.data()},
                                 plan, nullptr);
  }

  // The definition: where every channel has a range, it is the one from before.
  static void OnHost(const FakeQuantizeArgs& quantize, float averaging, State& state) {
    bool fresh = false;
    for (std::size_t c = 0; c < state.min.size(); ++c) fresh |= state.min[c] > state.max[c];
    const auto choose = [&] {
      for (std::size_t c = 0; c < state.min.size(); ++c) {
        const QParams q = ChooseQParams(state.min[c], state.max[c], -8, 7, false);
        state.scale[c] = q.scale;
        state.zero_point[c] = q.zero_point;
      }
    };
    if (!fresh) choose();
    State batch(static_cast<std::int64_t>(state.min.size()));
    const ObserveFakeQuantizeArgs args = {quantize, batch.min.data(), batch.max.data()};
    state.count[1] += reference::observe_fake_quantize_ref(args);
    state.count[0] += 1;
    UpdateMinmax(batch.min.data(), batch.max.data(), std::ssize(state.min), averaging,
                 state.min.data(), state.max.data());
    if (!fresh) return;
    choose();
    reference::observe_fake_quantize_ref(args);
  }

  static void ExpectEqualsReference(const QuantLayout& layout, ActivationKind activation,
                                    std::size_t offset) {
    State device(layout.num_scales());
    State host(layout.num_scales());
    const std::int64_t n = layout.numel();
    for (unsigned batch = 0; batch < 3; ++batch) {
      const float averaging = batch == 1 ? 0.25f : -1.0f;
      const Buffer<T> x(As<T>(HardValues(n, 0.7f, batch)), offset);
      const Buffer<T> y(n, offset), expected(n);
      const Buffer<std::uint8_t> bits(CeilDivide(n, 8)), expected_bits(CeilDivide(n, 8));
      const Buffer<std::uint8_t> mask(RandomMask(n, batch), offset);
      const std::uint8_t* const keep = (n + batch) % 2 == 0 ? nullptr : mask.data();
      OnDevice(Args(layout, x.data(), device, y.data(), bits.data(), activation, keep), averaging,
               device);
      OnHost(Args(layout, x.data(), host, expected.data(), expected_bits.data(), activation, keep),
             averaging, host);
      for (std::int64_t i = 0; i < n; ++i) ASSERT_TRUE(SameValue(y[i], expected[i])) << i;
      ASSERT_TRUE(std::equal(bits.data(), bits.data() + CeilDivide(n, 8), expected_bits.data()));
      ASSERT_EQ(device.scale, host.scale);
      ASSERT_EQ(device.zero_point, host.zero_point);
      ASSERT_EQ(device.min, host.min);
      ASSERT_EQ(device.max, host.max);
      ASSERT_EQ(device.count[0], host.count[0]);
      ASSERT_EQ(device.count[1], host.count[1]);
    }
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(ObserveFakeQuantizeCuda, Types);

TYPED_TEST(ObserveFakeQuantizeCuda, EveryGranularityAndActivation) {
  for (const LayoutCase& c : LayoutCases()) {
    SCOPED_TRACE(c.name);
    if (c.name.find("group") != std::string::npos) continue;
    for (int kind = 0; kind < kActivationKinds; ++kind) {
      this->ExpectEqualsReference(c.layout, static_cast<ActivationKind>(kind), 0);
    }
  }
}

TYPED_TEST(ObserveFakeQuantizeCuda, EverySizeAlignedOrNot) {
  for (const std::int64_t n : Sizes()) {
    if (n == 0) continue;
    SCOPED_TRACE(n);
    this->ExpectEqualsReference(QuantLayout::PerTensor(n), ActivationKind::kNone, n % 2);
  }
}

TYPED_TEST(ObserveFakeQuantizeCuda, AnyOrderOfThreads) {
  for (const int multiprocessors : {1, 3, 132}) {
    for (const bool reversed : {false, true}) {
      emulation.multiprocessors = multiprocessors;
      emulation.reversed = reversed;
      this->ExpectEqualsReference(QuantLayout::PerTensor(50001), ActivationKind::kRelu, 0);
    }
  }
}

TYPED_TEST(ObserveFakeQuantizeCuda, EmptyLaunchesNothing) {
  State state(1);
  this->OnDevice(this->Args(QuantLayout::PerTensor(0), nullptr, state, nullptr, nullptr,
                            ActivationKind::kNone),
                 0.1f, state);
  EXPECT_EQ(emulation.launches, 0);
  EXPECT_EQ(state.count[0], 0);
}

}  // namespace
}  // namespace edgeqat::cuda
