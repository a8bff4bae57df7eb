// SPDX-License-Identifier: Apache-2.0
// The running state of the minimum/maximum observer.
#include "edgeqat/observer.h"

#include <gtest/gtest.h>

#include <limits>

namespace edgeqat {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct State {
  float low = kInfinity;
  float high = -kInfinity;
  void Update(float batch_low, float batch_high, float averaging) {
    UpdateMinmax(&batch_low, &batch_high, 1, averaging, &low, &high);
  }
};

TEST(UpdateMinmax, KeepsTheExtremes) {
  State state;
  state.Update(-1.0F, 2.0F, -1.0F);
  state.Update(-0.5F, 3.0F, -1.0F);
  EXPECT_EQ(state.low, -1.0F);
  EXPECT_EQ(state.high, 3.0F);
}

TEST(UpdateMinmax, FirstBatchSetsTheAverage) {
  State state;
  state.Update(-1.0F, 2.0F, 0.25F);
  EXPECT_EQ(state.low, -1.0F);
  state.Update(-2.0F, 6.0F, 0.25F);
  EXPECT_EQ(state.low, -1.25F);
  EXPECT_EQ(state.high, 3.0F);
}

TEST(UpdateMinmax, SkipsAChannelWithoutFiniteValues) {
  State state;
  state.Update(kInfinity, -kInfinity, 0.5F);
  EXPECT_EQ(state.low, kInfinity);
  state.Update(1.0F, 2.0F, 0.5F);
  state.Update(kInfinity, -kInfinity, 0.5F);
  EXPECT_EQ(state.low, 1.0F);
  EXPECT_EQ(state.high, 2.0F);
}

}  // namespace
}  // namespace edgeqat
