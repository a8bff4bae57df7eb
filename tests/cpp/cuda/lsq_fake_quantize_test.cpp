// SPDX-License-Identifier: Apache-2.0
// The CUDA kernels of the learned quantizers, emulated, against the scalar reference.
#include "cuda/lsq_fake_quantize.h"

#include <gtest/gtest.h>

#include <random>

#include "core/reference/lsq_fake_quantize_ref.h"
#include "cuda/kernel_cases.h"

namespace edgeqat::cuda {
namespace {

constexpr StepRule kRules[] = {StepRule::kLsq, StepRule::kPowerOfTwo, StepRule::kPact};
constexpr ActivationKind kKinds[] = {ActivationKind::kNone, ActivationKind::kRelu,
                                     ActivationKind::kRelu6, ActivationKind::kHardswish};

// The layouts of the other kernels, and channels that are columns in disguise.
std::vector<LayoutCase> Layouts() {
  std::vector<LayoutCase> cases = LayoutCases();
  cases.push_back({"columns in disguise", {37, 5, 1, 1}});
  cases.push_back({"wide columns", {1, 2, 19, 70}});
  return cases;
}

template <typename T>
class LsqCuda : public ::testing::Test {
 protected:
  void SetUp() override { emulation = {}; }

  // One random problem on the device and on the host.
  static void Compare(const QuantLayout& layout, unsigned seed, std::size_t offset) {
    std::mt19937 random(seed);
    const std::int64_t n = layout.numel();
    const StepRule rule = kRules[random() % 3];
    const ActivationKind kind = kKinds[random() % 4];
    const bool with_offset = rule != StepRule::kPact && random() % 2 == 0;
    const bool masked = random() % 3 == 0;
    const std::int32_t qmin = random() % 2 == 0 ? -8 : 0;
    std::vector<float> scale, shift;
    for (std::int64_t c = 0; c < layout.num_scales(); ++c) {
      const float s = 0.11f * static_cast<float>(c % 7 + 1);
      scale.push_back(c % 3 == 1 ? -s : s);
      shift.push_back(s * static_cast<float>(static_cast<int>(random() % 9) - 4));
    }
    const Buffer<T> x(As<T>(HardValues(n, 0.11f, seed)), offset);
    Buffer<T> grad(n, offset);
    std::normal_distribution<float> noise;
    for (std::int64_t e = 0; e < n; ++e) grad[e] = FromFloat<T>(noise(random));
    Buffer<std::uint8_t> mask(n, offset);
    for (std::int64_t e = 0; e < n; ++e) mask[e] = static_cast<std::uint8_t>(random() % 3 != 0);
    const Buffer<T> y(n, offset), expected_y(n);
    const Buffer<std::int8_t> residual(n, offset), expected_residual(n);
    const bool compact = HasBinaryDerivative(kind);

    LsqFakeQuantizeArgs args{.dtype = TypeOf<T>(),
                             .layout = layout,
                             .x = x.data(),
                             .scale = scale.data(),
                             .offset = with_offset ? shift.data() : nullptr,
                             .qmin = qmin,
                             .qmax = qmin + 15,
                             .rule = rule,
                             .activation = kind,
                             .mask = masked ? mask.data() : nullptr,
                             .y = y.data(),
                             .residual = compact ? residual.data() : nullptr};
    lsq_fake_quantize(args, nullptr);
    args.y = expected_y.data();
    args.residual = compact ? expected_residual.data() : nullptr;
    reference::lsq_fake_quantize_ref(args);
    for (std::int64_t e = 0; e < n; ++e) {
      ASSERT_TRUE(SameValue(y[e], expected_y[e])) << e;
      if (!compact) continue;
      ASSERT_EQ(residual[e], expected_residual[e]) << e << " " << ToFloat(x[e]);
    }
    LsqFakeQuantizeBackwardArgs backward{.dtype = TypeOf<T>(),
                                         .layout = layout,
                                         .grad = grad.data(),
                                         .x = x.data(),
                                         .residual = residual.data(),
                                         .scale = scale.data(),
                                         .offset = args.offset,
                                         .qmin = qmin,
                                         .qmax = qmin + 15,
                                         .rule = rule,
                                         .activation = kind,
                                         .mask = args.mask,
                                         .grad_factor = 0.5,
                                         .delta = random() % 2 == 0 ? 0.3f : 0.0f,
                                         .damping = random() % 3 == 0 ? 0.2f : 0.0f};
    CompareBackward(backward, false, offset);
    if (compact) CompareBackward(backward, true, offset);
  }

  static void CompareBackward(LsqFakeQuantizeBackwardArgs args, bool compact, std::size_t shifted) {
    const std::int64_t n = args.layout.numel();
    const auto scales = static_cast<std::size_t>(args.layout.num_scales());
    const Buffer<T> grad_x(n, shifted), expected(n);
    std::vector<float> scale(scales), offset(scales), wanted_scale(scales), wanted_offset(scales);
    const Buffer<char> workspace(PlanSums(args.layout).workspace_bytes());
    args.grad_x = grad_x.data();
    args.grad_scale = scale.data();
    args.grad_offset = offset.data();
    compact ? lsq_fake_quantize_compact_backward(args, workspace.data(), nullptr)
            : lsq_fake_quantize_backward(args, workspace.data(), nullptr);
    args.grad_x = expected.data();
    args.grad_scale = wanted_scale.data();
    args.grad_offset = wanted_offset.data();
    compact ? reference::lsq_fake_quantize_compact_backward_ref(args)
            : reference::lsq_fake_quantize_backward_ref(args);
    for (std::int64_t e = 0; e < n; ++e) {
      ASSERT_TRUE(SameValue(grad_x[e], expected[e])) << e << " of " << n << " compact " << compact;
    }
    const double bound = 1e-6 * 15.0 * static_cast<double>(n / args.layout.num_scales() + 1);
    ExpectClose(scale, wanted_scale, bound);
    if (args.offset != nullptr) ExpectClose(offset, wanted_offset, bound);
  }

  // Any NaN equals any NaN.
  static void ExpectClose(const std::vector<float>& actual, const std::vector<float>& wanted,
                          double bound) {
    for (std::size_t s = 0; s < actual.size(); ++s) {
      ASSERT_EQ(std::isnan(actual[s]), std::isnan(wanted[s])) << s;
      if (std::isnan(wanted[s])) continue;
      ASSERT_NEAR(actual[s], wanted[s], bound) << s;
    }
  }
};

using Types = ::testing::Types<float, Float16, BFloat16>;
TYPED_TEST_SUITE(LsqCuda, Types);

TYPED_TEST(LsqCuda, EveryGranularity) {
  unsigned seed = 0;
  for (const LayoutCase& c : Layouts()) {
    SCOPED_TRACE(c.name);
    for (int repeat = 0; repeat < 6; ++repeat) {
      emulation.reversed = repeat % 2 == 1;
      this->Compare(c.layout, ++seed, repeat % 3);
      if (this->HasFatalFailure()) return;
    }
  }
}

// Rows that a team of every size shares, the last block's teams not all at work.
TYPED_TEST(LsqCuda, TeamsOfEverySize) {
  unsigned seed = 100;
  int expected_team = 1;
  for (const std::int64_t rows : {1, 7, 8, 9, 17, 32, 39, 128, 129, 512, 513, 1031, 2048, 2049}) {
    const std::int64_t chunks = CeilDivide(rows, kChunk);
    while (expected_team < chunks && expected_team < kBlockThreads) expected_team *= 2;
    const std::int64_t teams = kBlockThreads / expected_team;
    for (const std::int64_t channels : {teams + 1, 9 * teams - 1}) {
      const QuantLayout layout = {1, channels, rows, 1};
      SCOPED_TRACE(std::to_string(rows) + " in " + std::to_string(channels));
      const SumPlan plan = PlanSums(layout);
      EXPECT_TRUE(plan.by_columns || plan.team == expected_team) << plan.team;
      emulation.reversed = channels > teams + 1;
      ++seed;
      this->Compare(layout, seed, seed % 2);
      if (this->HasFatalFailure()) return;
    }
  }
}

TYPED_TEST(LsqCuda, EverySize) {
  for (const std::int64_t n : Sizes()) {
    if (n > 3000) continue;
    SCOPED_TRACE(n);
    this->Compare(QuantLayout::PerTensor(n), static_cast<unsigned>(n), n % 2);
    if (this->HasFatalFailure()) return;
  }
}

// Float sums depend on their order, and the order on nothing that differs between devices.
TYPED_TEST(LsqCuda, TheSameSumsWithAnyNumberOfMultiprocessors) {
  for (const QuantLayout& layout :
       {QuantLayout::PerTensor(150001), QuantLayout{3, 4, 2001, 1}, QuantLayout{1, 1, 900, 33}}) {
    const std::int64_t n = layout.numel();
    const Buffer<TypeParam> x(As<TypeParam>(HardValues(n, 0.3f, 1)));
    for (std::int64_t e = 0; e < n; ++e) {
      if (std::isnan(ToFloat(x[e]))) x[e] = FromFloat<TypeParam>(0.5f);
    }
    const std::vector<float> scale(static_cast<std::size_t>(layout.num_scales()), 0.3f);
    std::vector<std::vector<float>> sums;
    for (const int multiprocessors : {1, 7, 132}) {
      emulation.multiprocessors = multiprocessors;
      const Buffer<TypeParam> grad_x(n);
      const Buffer<char> workspace(PlanSums(layout).workspace_bytes());
      sums.emplace_back(scale.size());
      lsq_fake_quantize_backward({.dtype = TypeOf<TypeParam>(),
                                  .layout = layout,
                                  .grad = x.data(),
                                  .x = x.data(),
                                  .scale = scale.data(),
                                  .grad_x = grad_x.data(),
                                  .grad_scale = sums.back().data()},
                                 workspace.data(), nullptr);
    }
    EXPECT_EQ(sums[0], sums[1]);
    EXPECT_EQ(sums[0], sums[2]);
  }
}

TEST(LsqCudaLaunch, EmptyTensorsHaveGradientZero) {
  emulation = {};
  const float scale = 1.0f;
  float grad_scale = 7.0f;
  lsq_fake_quantize({.layout = QuantLayout::PerTensor(0), .scale = &scale}, nullptr);
  lsq_fake_quantize_backward(
      {.layout = QuantLayout::PerTensor(0), .scale = &scale, .grad_scale = &grad_scale}, nullptr,
      nullptr);
  EXPECT_EQ(grad_scale, 0.0f);
  EXPECT_EQ(emulation.launches, 1);
}

TEST(LsqCudaLaunch, OneKernelWhereNoScaleIsSplit) {
  emulation = {};
  const std::vector<float> x = HardValues(640, 0.2f, 9);
  const std::vector<float> scale(20, 0.2f);
  std::vector<float> y(x.size()), sums(20);
  lsq_fake_quantize_backward({.layout = {1, 20, 32, 1},
                              .grad = x.data(),
                              .x = x.data(),
                              .scale = scale.data(),
                              .grad_x = y.data(),
                              .grad_scale = sums.data()},
                             nullptr, nullptr);
  EXPECT_EQ(emulation.launches, 1);
}

TEST(LsqCudaLaunch, ManyTensors) {
  emulation = {};
  const std::vector<float> x = HardValues(700, 0.2f, 9);
  std::vector<float> y(x.size()), expected(x.size()), scale = {0.2f, 0.4f}, sums(2), wanted(2);
  std::vector<LsqFakeQuantizeArgs> forward;
  std::vector<LsqFakeQuantizeBackwardArgs> backward;
  for (std::size_t i = 0; i < 2; ++i) {
    const QuantLayout layout = QuantLayout::PerTensor(350);
    forward.push_back(
        {.layout = layout, .x = x.data() + 350 * i, .scale = &scale[i], .y = y.data() + 350 * i});
    backward.push_back({.layout = layout,
                        .grad = forward[0].x,
                        .x = forward[i].x,
                        .scale = &scale[i],
                        .grad_x = y.data() + 350 * i,
                        .grad_scale = &sums[i]});
  }
  lsq_fake_quantize_multi(forward, nullptr);
  auto on_host = forward;
  for (std::size_t i = 0; i < 2; ++i) on_host[i].y = expected.data() + 350 * i;
  reference::lsq_fake_quantize_multi_ref(on_host);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(SameValue(y[i], expected[i]));
  const Buffer<char> workspace(PlanSums(QuantLayout::PerTensor(350)).workspace_bytes());
  lsq_fake_quantize_multi_backward(backward, workspace.data(), nullptr);
  for (std::size_t i = 0; i < 2; ++i) {
    backward[i].grad_x = expected.data() + 350 * i;
    backward[i].grad_scale = &wanted[i];
  }
  reference::lsq_fake_quantize_multi_backward_ref(backward);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(SameValue(y[i], expected[i]));
}

TEST(LsqCudaLaunch, LearnedStep) {
  emulation = {};
  std::vector<float> p = {0.0f, -0.3f, 5.0f, -3.4e38f, 1e-45f};
  for (int i = 0; i < 3000; ++i) p.push_back(std::ldexp(static_cast<float>(i - 1500), i % 90 - 60));
  std::vector<float> step(p.size()), expected(p.size());
  for (const StepRule rule : kRules) {
    LearnedStepArgs args{.scale = p.data(),
                         .count = static_cast<std::int64_t>(p.size()),
                         .qmin = -8,
                         .qmax = 7,
                         .rule = rule,
                         .step = step.data()};
    learned_step(args, nullptr);
    args.step = expected.data();
    reference::learned_step_ref(args);
    EXPECT_EQ(step, expected);
  }
}

TEST(PlanSums, CutsBySizeAlone) {
  EXPECT_EQ(PlanSums(QuantLayout::PerTensor(INT64_C(1) << 33)).splits, kSumUnits);
  EXPECT_EQ(PlanSums(QuantLayout::PerTensor(100)).splits, 1);
  const SumPlan columns = PlanSums({64, 1000, 1, 1});
  EXPECT_TRUE(columns.by_columns);
  EXPECT_EQ(columns.tiles, 32);
  EXPECT_EQ(columns.splits, 8);
  EXPECT_EQ(columns.workspace_bytes(), 1000 * 8 * 16);
}

// 64 groups of 32 a block, and nothing left for a second pass.
TEST(PlanSums, GroupsShareABlock) {
  const SumPlan groups = PlanSums({1, 524288, 32, 1});
  EXPECT_EQ(groups.team, 4);
  EXPECT_EQ(groups.units(), 524288 / 64);
  EXPECT_TRUE(groups.one_pass());
  EXPECT_EQ(groups.workspace_bytes(), 0);
}

}  // namespace
}  // namespace edgeqat::cuda
