// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of observe_minmax_, emulated, against the scalar reference.
#include "cuda/observer.h"

#include <gtest/gtest.h>

#include "core/reference/observer_ref.h"
#include "cuda/kernel_cases.h"
#include "edgeqat/observer.h"

namespace edgeqat::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct State {
  explicit State(const QuantLayout& layout)
      : min(static_cast<std::size_t>(layout.num_scales()), kInfinity),
        max(static_cast<std::size_t>(layout.num_scales()), -kInfinity) {}
  std::vector<float> min;
  std::vector<float> max;
  std::vector<std::int64_t> count = {0, 0};
};

template <typename T>
class ObserveCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  static void ObserveOnDevice(const QuantLayout& layout, const T* x, float averaging, State& state,
                              const std::uint8_t* mask = nullptr) {
    const ObservePlan plan = PlanObserveMinmax(layout);
    const Buffer<char> workspace(plan.workspace_bytes());
    observe_minmax_update({.dtype = TypeOf<T>(),
                           .layout = layout,
                           .x = x,
                           .mask = mask,
                           .averaging = averaging,
                           .min_val = state.min.data(),
                           .max_val = state.max.data(),
                           .count = state.count.data(),
                           .workspace = workspace.data()},
                          plan, nullptr);
  }

  static void ObserveOnHost(const QuantLayout& layout, const T* x, float averaging, State& state,
                            const std::uint8_t* mask) {
    State batch(layout);
    state.count[1] += reference::observe_minmax_ref({.dtype = TypeOf<T>(),
                                                     .layout = layout,
                                                     .x = x,
                                                     .mask = mask,
                                                     .min = batch.min.data(),
                                                     .max = batch.max.data()});
    state.count[0] += 1;
    UpdateMinmax(batch.min.data(), batch.max.data(), layout.num_scales(), averaging,
                 state.min.data(), state.max.data());
  }

  static void ExpectEqualsReference(const QuantLayout& layout, float averaging,
                                    std::size_t offset) {
    for (const bool reversed : {false, true}) {
      emulation.reversed = reversed;
      ExpectEqualsReferenceInThisOrder(layout, averaging, offset);
    }
  }

  static void ExpectEqualsReferenceInThisOrder(const QuantLayout& layout, float averaging,
                                               std::size_t offset) {
    State device(layout);
    State host(layout);
    for (unsigned batch = 0; batch < 3; ++batch) {
      const Buffer<T> x(As<T>(HardValues(layout.numel(), 0.7f, batch)), offset);
      const Buffer<std::uint8_t> mask(RandomMask(layout.numel(), batch), offset);
      const std::uint8_t* const keep = batch == 1 ? nullptr : mask.data();
      ObserveOnDevice(layout, x.data(), averaging, device, keep);
      ObserveOnHost(layout, x.data(), averaging, host, keep);
    }
    for (std::size_t c = 0; c < host.min.size(); ++c) {
      ASSERT_TRUE(SameValue(device.min[c], host.min[c])) << c << " " << device.min[c];
      ASSERT_TRUE(SameValue(device.max[c], host.max[c])) << c << " " << device.max[c];
    }
    ASSERT_EQ(device.count, host.count);
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(ObserveCuda, Types);

TYPED_TEST(ObserveCuda, EveryLayoutOfTheObserver) {
  const std::vector<std::int64_t> conv = {6, 4, 3, 3};
  const std::vector<std::int64_t> image = {3, 2, 8, 9};
  const std::vector<std::int64_t> tokens = {300, 33};
  for (const QuantLayout& layout :
       {QuantLayout::PerTensor(2999), QuantLayout::PerChannel(conv, 0),
        QuantLayout::PerChannel(conv, 1), QuantLayout::PerChannel(image, 1),
        QuantLayout::PerChannel(image, 3), QuantLayout::PerChannel(tokens, 1),
        QuantLayout::PerChannel(tokens, 0)}) {
    SCOPED_TRACE(layout.num_scales());
    this->ExpectEqualsReference(layout, -1.0f, 0);
    this->ExpectEqualsReference(layout, 0.01f, 1);
  }
}

TYPED_TEST(ObserveCuda, SizesAroundAChunk) {
  for (const std::int64_t n : {1, 7, 8, 9, 2049}) {
    for (const std::size_t offset : {0, 1}) {
      this->ExpectEqualsReference(QuantLayout::PerTensor(n), 0.5f, offset);
    }
  }
}

TYPED_TEST(ObserveCuda, ManySplitsAreMergedByBlocks) {
  emulation.multiprocessors = 9;  // 72 blocks, above the 64 splits that a thread would merge
  const QuantLayout layout = QuantLayout::PerTensor(150000);
  EXPECT_GE(PlanObserveMinmax(layout).splits, 64);
  this->ExpectEqualsReference(layout, -1.0f, 0);
}

TYPED_TEST(ObserveCuda, OneBlockWalksSeveralUnits) {
  const std::vector<std::int64_t> shape = {40, 24};
  const QuantLayout layout = QuantLayout::PerChannel(shape, 0);
  const ObservePlan plan = PlanObserveMinmax(layout);
  EXPECT_GT(plan.units, plan.blocks);
  this->ExpectEqualsReference(layout, -1.0f, 0);
}

TYPED_TEST(ObserveCuda, ABatchWithoutFiniteValuesKeepsTheState) {
  const QuantLayout layout = QuantLayout::PerTensor(5);
  State state(layout);
  const Buffer<TypeParam> bad(As<TypeParam>(std::vector<float>(5, std::nanf(""))));
  this->ObserveOnDevice(layout, bad.data(), 0.1f, state);
  EXPECT_EQ(state.min[0], kInfinity);
  EXPECT_EQ(state.max[0], -kInfinity);
  EXPECT_EQ(state.count, (std::vector<std::int64_t>{1, 5}));
  const Buffer<TypeParam> good(As<TypeParam>({1.0f, -2.0f, 0.5f, 0.0f, 1.5f}));
  this->ObserveOnDevice(layout, good.data(), 0.1f, state);
  EXPECT_EQ(state.min[0], -2.0f);  // the first batch with values sets the state
  EXPECT_EQ(state.max[0], 1.5f);
}

TYPED_TEST(ObserveCuda, NegativeZeroCountsAsZero) {
  const QuantLayout layout = QuantLayout::PerTensor(2);
  State state(layout);
  const Buffer<TypeParam> x(As<TypeParam>({-0.0f, -0.0f}));
  this->ObserveOnDevice(layout, x.data(), -1.0f, state);
  EXPECT_FALSE(std::signbit(state.min[0]));
  EXPECT_FALSE(std::signbit(state.max[0]));
}

TYPED_TEST(ObserveCuda, AnEmptyBatchChangesNothing) {
  const QuantLayout layout = QuantLayout::PerTensor(0);
  State state(layout);
  this->ObserveOnDevice(layout, nullptr, -1.0f, state);
  EXPECT_EQ(state.count, (std::vector<std::int64_t>{0, 0}));
  EXPECT_EQ(emulation.launches, 0);
}

TEST(PlanObserve, CoversEveryChannelWithinTheWorkspace) {
  const std::vector<std::int64_t> wide = {1, 100000};
  const ObservePlan columns = PlanObserve(QuantLayout::PerChannel(wide, 1), 132);
  EXPECT_TRUE(columns.by_columns);
  EXPECT_EQ(columns.units, 3125);
  EXPECT_EQ(columns.workspace_bytes(), 100000 * 16);
  const ObservePlan tensor = PlanObserve(QuantLayout::PerTensor(INT64_C(1) << 33), 132);
  EXPECT_EQ(tensor.splits, 132 * 8);
  EXPECT_EQ(tensor.blocks, 132 * 8);
}

}  // namespace
}  // namespace edgeqat::cuda
