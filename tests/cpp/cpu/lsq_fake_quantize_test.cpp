// SPDX-License-Identifier: Apache-2.0
// Every variant of the learned quantizers against the scalar reference: values, residuals and
// gradients of x bit for bit, sums within their bound and equal over variants, cuts and pools.
#include "edgeqat/lsq_fake_quantize.h"

#include <memory>

#include "core/reference/lsq_fake_quantize_ref.h"
#include "cpu/gradient_sums.h"
#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

using testing::CodeRange;
using testing::GuardedBuffer;

constexpr StepRule kRules[] = {StepRule::kLsq, StepRule::kPowerOfTwo, StepRule::kPact};
constexpr ActivationKind kKinds[] = {ActivationKind::kNone, ActivationKind::kRelu,
                                     ActivationKind::kRelu6, ActivationKind::kHardswish};
constexpr CodeRange kSigned[] = {{-2, 1}, {-8, 7}, {-7, 7}, {-128, 127}, {0, 3}, {0, 15}, {0, 255}};

// One problem with hard values; scales of both signs.
struct Problem {
  FloatType type;
  QuantLayout layout;
  CodeRange range;
  StepRule rule;
  ActivationKind activation;
  bool with_offset, with_mask;
  float delta, damping;
  std::vector<float> scale, offset;
  GuardedBuffer x, grad, mask;

  Problem(std::mt19937& random, FloatType t, const QuantLayout& l)
      : type(t),
        layout(l),
        range(kSigned[random() % std::size(kSigned)]),
        rule(kRules[random() % 3]),
        activation(kKinds[random() % 4]),
        with_offset(rule != StepRule::kPact && random() % 2 == 0),
        with_mask(random() % 3 == 0),
        delta(random() % 2 == 0 ? 0.0F : 0.4F),
        damping(random() % 3 == 0 ? 0.25F : 0.0F),
        x(static_cast<std::size_t>(l.numel() * SizeOf(t))),
        grad(x.size()),
        mask(static_cast<std::size_t>(l.numel())) {
    for (std::int64_t i = 0; i < l.num_scales(); ++i) {
      const float s = testing::RandomScale(random);
      scale.push_back(random() % 3 == 0 ? -s : s);
      offset.push_back(s * static_cast<float>(static_cast<int>(random() % 20) - 10) * 0.97F);
    }
    std::vector<float> steps(scale.size());
    reference::learned_step_ref({.scale = scale.data(),
                                 .count = l.num_scales(),
                                 .qmin = range.qmin,
                                 .qmax = range.qmax,
                                 .rule = rule,
                                 .step = steps.data()});
    testing::FillHard(random, l, steps, t, x.data());
    std::normal_distribution<float> noise;
    for (std::int64_t e = 0; e < l.numel(); ++e) {
      reference::StoreFloat(noise(random), t, e, grad.data());
      mask.data()[e] = random() % 4 != 0 ? 1 : 0;
    }
  }

  [[nodiscard]] std::string Name() const {
    const auto number = [](auto value) { return std::to_string(static_cast<int>(value)) + " "; };
    return "type, layout, range, rule, activation, offset, mask: " + number(type) +
           number(layout.outer) + number(layout.channels) + number(layout.rows) +
           number(layout.width) + number(range.qmin) + number(range.qmax) + number(rule) +
           number(activation) + number(with_offset) + number(with_mask);
  }
  [[nodiscard]] std::int64_t numel() const { return layout.numel(); }
  [[nodiscard]] bool compact() const { return HasBinaryDerivative(activation); }

  LsqFakeQuantizeArgs Forward(void* y, std::int8_t* residual) {
    return {.dtype = type,
            .layout = layout,
            .x = x.data(),
            .scale = scale.data(),
            .offset = with_offset ? offset.data() : nullptr,
            .qmin = range.qmin,
            .qmax = range.qmax,
            .rule = rule,
            .activation = activation,
            .mask = with_mask ? mask.data() : nullptr,
            .y = y,
            .residual = residual};
  }

  LsqFakeQuantizeBackwardArgs Backward(const std::int8_t* residual, void* grad_x,
                                       std::vector<float>& grad_scale,
                                       std::vector<float>& grad_offset) {
    grad_scale.assign(scale.size(), 7.0F);
    grad_offset.assign(scale.size(), 7.0F);
    return {.dtype = type,
            .layout = layout,
            .grad = grad.data(),
            .x = x.data(),
            .residual = residual,
            .scale = scale.data(),
            .offset = with_offset ? offset.data() : nullptr,
            .qmin = range.qmin,
            .qmax = range.qmax,
            .rule = rule,
            .activation = activation,
            .mask = with_mask ? mask.data() : nullptr,
            .grad_factor = 0.5,
            .delta = delta,
            .damping = damping,
            .grad_x = grad_x,
            .grad_scale = grad_scale.data(),
            .grad_offset = with_offset ? grad_offset.data() : nullptr};
  }
};

// The kernel over the pieces in reverse order, then the sums, as the driver does it.
void RunPieces(const cpu::KernelTable& kernels, const LsqFakeQuantizeBackwardArgs& args,
               bool compact) {
  const cpu::LearnedGrid grid(args.scale, args.offset, args.layout.num_scales(), args.qmin,
                              args.qmax, args.rule);
  const cpu::LsqBackwardArgs kernel_args = cpu::BackwardArgs(args, grid);
  const cpu::SumPieces pieces(args.layout);
  std::vector<double> steps(static_cast<std::size_t>(pieces.num_sums())), offsets(steps);
  const auto kernel = compact ? kernels.lsq_compact_backward : kernels.lsq_backward;
  for (std::int64_t i = pieces.count(); i-- > 0;) {
    const auto piece = pieces.piece(i);
    kernel(kernel_args, piece.begin, piece.end, steps.data() + piece.first_sum,
           args.offset != nullptr ? offsets.data() + piece.first_sum : nullptr);
  }
  std::vector<double> totals;
  pieces.Combine(steps, totals);
  for (std::size_t s = 0; s < totals.size(); ++s) {
    args.grad_scale[s] = static_cast<float>(
        totals[s] * LearnedStepSlope(args.scale[s], args.qmin, args.qmax, args.rule) *
        args.grad_factor);
  }
  if (args.offset == nullptr) return;
  pieces.Combine(offsets, totals);
  for (std::size_t s = 0; s < totals.size(); ++s) {
    args.grad_offset[s] = static_cast<float>(totals[s] * args.grad_factor);
  }
}

// Any NaN equals any NaN; otherwise within float32 rounding of sum |g| * max |term|.
void ExpectSums(const std::vector<float>& actual, const std::vector<float>& expected,
                const Problem& problem) {
  std::vector<double> magnitude(actual.size());
  for (std::int64_t e = 0; e < problem.numel(); ++e) {
    const auto s = static_cast<std::size_t>(problem.layout.index(e));
    const auto* grad = const_cast<Problem&>(problem).grad.data();
    magnitude[s] += std::fabs(reference::LoadFloat(grad, problem.type, e));
  }
  for (std::size_t s = 0; s < actual.size(); ++s) {
    if (std::isnan(expected[s])) {
      ASSERT_TRUE(std::isnan(actual[s])) << s;
      continue;
    }
    const double bound =
        magnitude[s] * std::max(-problem.range.qmin, problem.range.qmax) * 0x1p-22 + 1e-30;
    ASSERT_NEAR(actual[s], expected[s], bound)
        << s << " of " << actual.size() << " " << problem.Name();
  }
}

class LsqFakeQuantize : public ::testing::TestWithParam<const cpu::KernelTable*> {
 protected:
  static void Compare(std::mt19937& random, FloatType type, const QuantLayout& layout) {
    Problem problem(random, type, layout);
    const std::int64_t n = problem.numel();
    GuardedBuffer y(problem.x.size()), residual(static_cast<std::size_t>(n));
    std::vector<char> expected_y(problem.x.size());
    std::vector<std::int8_t> expected_residual(static_cast<std::size_t>(n));
    if (problem.compact()) {
      reference::lsq_fake_quantize_ref(
          problem.Forward(expected_y.data(), expected_residual.data()));
      const LsqFakeQuantizeArgs args = problem.Forward(y.data(), residual.data<std::int8_t>());
      const cpu::LearnedGrid grid(args.scale, args.offset, layout.num_scales(), args.qmin,
                                  args.qmax, args.rule);
      GetParam()->lsq_train(cpu::TrainArgs(args, grid), 0, n);
      testing::ExpectSameFloats(y.data(), expected_y.data(), type, n);
      ASSERT_EQ(std::memcmp(residual.data(), expected_residual.data(), expected_residual.size()),
                0);
    }
    for (const bool compact : {false, true}) {
      if (compact && !problem.compact()) continue;
      std::vector<float> scale, offset, expected_scale, expected_offset;
      const std::int8_t* const saved = compact ? expected_residual.data() : nullptr;
      const auto wanted =
          problem.Backward(saved, expected_y.data(), expected_scale, expected_offset);
      const auto args = problem.Backward(saved, y.data(), scale, offset);
      compact ? reference::lsq_fake_quantize_compact_backward_ref(wanted)
              : reference::lsq_fake_quantize_backward_ref(wanted);
      RunPieces(*GetParam(), args, compact);
      testing::ExpectSameFloats(y.data(), expected_y.data(), type, n);
      ExpectSums(scale, expected_scale, problem);
      if (problem.with_offset) ExpectSums(offset, expected_offset, problem);
      if (HasFatalFailure()) return;
    }
  }
};

TEST_P(LsqFakeQuantize, EqualsReferenceAtEverySize) {
  std::mt19937 random(1);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        Compare(random, type, layout);
        if (HasFatalFailure()) FAIL() << n;
      }
    }
  }
}

// Pieces of several runs, of parts of a run, and columns.
TEST_P(LsqFakeQuantize, EqualsReferenceOverSeveralPieces) {
  std::mt19937 random(2);
  for (int repeat = 0; repeat < 4; ++repeat) {
    for (const QuantLayout& layout :
         {QuantLayout::PerTensor(100001), QuantLayout{3, 5, 7001, 1}, QuantLayout{2, 3, 33000, 1},
          QuantLayout{9000, 11, 1, 1}, QuantLayout{1, 1, 7000, 13}, QuantLayout{1, 3, 40, 1000},
          QuantLayout{1, 700, 9, 13}, QuantLayout{1, 1, 40, 33000}}) {
      Compare(random, FloatType::kFloat32, layout);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(LsqFakeQuantize, EveryVariantGivesTheSameSums) {
  std::mt19937 random(3);
  for (const QuantLayout& layout :
       {QuantLayout::PerTensor(70001), QuantLayout{4, 3, 1000, 1}, QuantLayout{1, 1, 3000, 17}}) {
    for (int repeat = 0; repeat < 8; ++repeat) {
      Problem problem(random, FloatType::kFloat32, layout);
      std::vector<float> first, second, offset, y(static_cast<std::size_t>(layout.numel()));
      RunPieces(*testing::Variants().front(), problem.Backward(nullptr, y.data(), first, offset),
                false);
      RunPieces(*GetParam(), problem.Backward(nullptr, y.data(), second, offset), false);
      testing::ExpectSameFloats(second.data(), first.data(), FloatType::kFloat32,
                                layout.num_scales());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, LsqFakeQuantize, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

TEST(LsqFakeQuantizePublic, GivesTheSameBitsOverAnyPool) {
  std::mt19937 random(4);
  const auto reversed = [](std::int64_t count, const RangeBody& body) {
    for (std::int64_t i = count; i-- > 0;) body(i, i + 1);
  };
  for (const QuantLayout& layout :
       {QuantLayout::PerTensor(300001), QuantLayout{5, 16, 3000, 1}, QuantLayout{1, 1, 9000, 32}}) {
    Problem problem(random, FloatType::kFloat32, layout);
    const auto n = static_cast<std::size_t>(layout.numel());
    std::vector<float> serial(n), pooled(n), scale, offset, pooled_scale, pooled_offset;
    lsq_fake_quantize(problem.Forward(serial.data(), nullptr));
    lsq_fake_quantize(problem.Forward(pooled.data(), nullptr), reversed);
    testing::ExpectSameFloats(pooled.data(), serial.data(), FloatType::kFloat32, layout.numel());
    lsq_fake_quantize_backward(problem.Backward(nullptr, serial.data(), scale, offset));
    lsq_fake_quantize_backward(
        problem.Backward(nullptr, pooled.data(), pooled_scale, pooled_offset), reversed);
    testing::ExpectSameFloats(pooled.data(), serial.data(), FloatType::kFloat32, layout.numel());
    testing::ExpectSameFloats(pooled_scale.data(), scale.data(), FloatType::kFloat32,
                              layout.num_scales());
    testing::ExpectSameFloats(pooled_offset.data(), offset.data(), FloatType::kFloat32,
                              layout.num_scales());
  }
}

TEST(LsqFakeQuantizePublic, TheCompactBackwardIsTheKernel) {
  std::mt19937 random(5);
  Problem problem(random, FloatType::kFloat32, QuantLayout{2, 3, 700, 1});
  problem.activation = ActivationKind::kNone;
  const auto n = static_cast<std::size_t>(problem.numel());
  std::vector<std::int8_t> residual(n);
  std::vector<float> y(n), expected(n), scale, offset, expected_scale, expected_offset;
  lsq_fake_quantize(problem.Forward(y.data(), residual.data()));
  reference::lsq_fake_quantize_compact_backward_ref(
      problem.Backward(residual.data(), expected.data(), expected_scale, expected_offset));
  lsq_fake_quantize_compact_backward(problem.Backward(residual.data(), y.data(), scale, offset));
  testing::ExpectSameFloats(y.data(), expected.data(), FloatType::kFloat32, problem.numel());
  ExpectSums(scale, expected_scale, problem);
}

TEST(LsqFakeQuantizePublic, ManyTensorsAtOnceAreEachAsByItself) {
  std::mt19937 random(6);
  std::vector<std::unique_ptr<Problem>> problems;
  std::vector<std::vector<float>> y, expected_y, scale(5), offset(5), wanted_scale(5),
      wanted_offset(5);
  std::vector<LsqFakeQuantizeArgs> forward;
  for (const std::int64_t n : {0, 7, 70000, 1, 33000}) {
    problems.push_back(
        std::make_unique<Problem>(random, FloatType::kFloat32, QuantLayout::PerTensor(n)));
    y.emplace_back(static_cast<std::size_t>(n));
    forward.push_back(problems.back()->Forward(y.back().data(), nullptr));
  }
  expected_y = y;
  std::vector<LsqFakeQuantizeArgs> reference_forward = forward;
  for (std::size_t i = 0; i < y.size(); ++i) reference_forward[i].y = expected_y[i].data();
  const auto pool = [](std::int64_t count, const RangeBody& body) {
    for (std::int64_t i = count; i > 0; i -= 2) body(std::max<std::int64_t>(0, i - 2), i);
  };
  lsq_fake_quantize_multi(forward, pool);
  reference::lsq_fake_quantize_multi_ref(reference_forward);
  for (std::size_t i = 0; i < y.size(); ++i) {
    testing::ExpectSameFloats(y[i].data(), expected_y[i].data(), FloatType::kFloat32,
                              problems[i]->numel());
  }
  std::vector<LsqFakeQuantizeBackwardArgs> backward, reference_backward;
  for (std::size_t i = 0; i < y.size(); ++i) {
    backward.push_back(problems[i]->Backward(nullptr, y[i].data(), scale[i], offset[i]));
    reference_backward.push_back(
        problems[i]->Backward(nullptr, expected_y[i].data(), wanted_scale[i], wanted_offset[i]));
  }
  lsq_fake_quantize_multi_backward(backward, pool);
  reference::lsq_fake_quantize_multi_backward_ref(reference_backward);
  for (std::size_t i = 0; i < y.size(); ++i) {
    testing::ExpectSameFloats(y[i].data(), expected_y[i].data(), FloatType::kFloat32,
                              problems[i]->numel());
    ExpectSums(scale[i], wanted_scale[i], *problems[i]);
  }
}

TEST(LsqFakeQuantizePublic, AcceptsAnEmptyTensor) {
  const float scale = 1.0F;
  float grad_scale = 7.0F;
  lsq_fake_quantize({.layout = QuantLayout::PerTensor(0), .scale = &scale});
  lsq_fake_quantize_backward(
      {.layout = QuantLayout::PerTensor(0), .scale = &scale, .grad_scale = &grad_scale});
  EXPECT_EQ(grad_scale, 0.0F);
}

TEST(LearnedStep, EqualsReferenceForEveryKindOfParameter) {
  std::mt19937 random(7);
  std::vector<float> p = {0.0F, -0.0F, 1e-45F, -1e-38F, 1.0F, 2.0F, -0.25F, 3.4e38F, 0x1p-100F};
  for (int i = 0; i < 2000; ++i) {
    p.push_back(std::ldexp(static_cast<float>(random() % 4096) - 2048.0F,
                           static_cast<int>(random() % 200) - 110));
    p.push_back(std::nextafter(p.back(), 1e30F));
  }
  std::vector<float> step(p.size()), expected(p.size());
  for (const StepRule rule : kRules) {
    for (const CodeRange range : kSigned) {
      const LearnedStepArgs args = {
          p.data(), static_cast<std::int64_t>(p.size()), range.qmin, range.qmax, rule, step.data()};
      learned_step(args);
      LearnedStepArgs reference_args = args;
      reference_args.step = expected.data();
      reference::learned_step_ref(reference_args);
      ASSERT_EQ(std::memcmp(step.data(), expected.data(), step.size() * sizeof(float)), 0);
      for (const float s : step) ASSERT_GT(s, 0.0F);
    }
  }
}

}  // namespace
}  // namespace edgeqat
