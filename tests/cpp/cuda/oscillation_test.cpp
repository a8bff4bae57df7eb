// SPDX-License-Identifier: Apache-2.0
// The CUDA kernel of oscillation_update, emulated, against the scalar reference.
#include "cuda/oscillation.h"

#include <gtest/gtest.h>

#include "core/reference/oscillation_ref.h"
#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

template <typename T>
class OscillationCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  struct State {
    State(std::int64_t n, std::size_t offset)
        : weight(n, offset),
          codes(n, offset),
          direction(n, offset),
          frequency(n, offset),
          mean_code(n, offset),
          frozen(n, offset) {}

    void Attach(OscillationUpdateArgs& args) {
      args.weight = weight.data();
      args.codes = codes.data();
      args.direction = direction.data();
      args.frequency = frequency.data();
      args.mean_code = mean_code.data();
      args.frozen = frozen.data();
    }

    Buffer<T> weight;
    Buffer<std::int8_t> codes, direction;
    Buffer<float> frequency, mean_code;
    Buffer<std::uint8_t> frozen;
  };

  // Three steps from the first sight on, with weights that jump.
  static void ExpectEqualsReference(const QuantLayout& layout, std::size_t offset) {
    const std::int64_t n = layout.numel();
    State device(n, offset), host(n, 0);
    for (std::int64_t i = 0; i < n; ++i) {
      for (State* state : {&device, &host}) {
        state->codes[i] = state->direction[i] = 0;
        state->frequency[i] = 0.0f;
        state->mean_code[i] = std::nanf("");
        state->frozen[i] = i % 11 == 0;
      }
    }
    const auto scales = static_cast<std::size_t>(layout.num_scales());
    const std::vector<float> scale(scales, 0.25f);
    const std::vector<std::int32_t> zero_point(scales, 1);
    OscillationUpdateArgs args;
    args.dtype = TypeOf<T>();
    args.layout = layout;
    args.scale = scale.data();
    args.zero_point = zero_point.data();
    args.qmin = -8;
    args.qmax = 7;
    args.momentum = 0.3f;
    args.freeze_threshold = 0.2f;
    for (unsigned step = 0; step < 4; ++step) {
      const std::vector<T> values = As<T>(HardValues(n, 0.25f, step));
      std::copy(values.begin(), values.end(), device.weight.data());
      std::copy(values.begin(), values.end(), host.weight.data());
      device.Attach(args);
      cuda::oscillation_update(args, nullptr);
      host.Attach(args);
      reference::oscillation_update_ref(args);
      for (std::int64_t i = 0; i < n; ++i) {
        ASSERT_TRUE(SameValue(device.weight[i], host.weight[i])) << i;
        ASSERT_TRUE(SameValue(device.frequency[i], host.frequency[i])) << i;
        ASSERT_TRUE(SameValue(device.mean_code[i], host.mean_code[i])) << i;
        ASSERT_EQ(device.codes[i], host.codes[i]) << i;
        ASSERT_EQ(device.direction[i], host.direction[i]) << i;
        ASSERT_EQ(device.frozen[i], host.frozen[i]) << i;
      }
    }
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(OscillationCuda, Types);

TYPED_TEST(OscillationCuda, EveryGranularity) {
  for (const LayoutCase& c : LayoutCases()) {
    SCOPED_TRACE(c.name);
    this->ExpectEqualsReference(c.layout, 0);
  }
}

TYPED_TEST(OscillationCuda, EverySizeAlignedOrNot) {
  for (const std::int64_t n : Sizes()) {
    SCOPED_TRACE(n);
    for (const std::size_t offset : {0, 1}) {
      this->ExpectEqualsReference(QuantLayout::PerTensor(n), offset);
    }
  }
}

}  // namespace
}  // namespace edgeqat::cuda
