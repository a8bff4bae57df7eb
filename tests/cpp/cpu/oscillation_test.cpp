// SPDX-License-Identifier: Apache-2.0
// Every variant of oscillation_update against the scalar reference, and the rule on known courses.
#include "edgeqat/oscillation.h"

#include "core/reference/oscillation_ref.h"
#include "cpu/kernel_cases.h"

namespace edgeqat {
namespace {

using testing::GuardedBuffer;

// Arguments of one call over memory that ends at a guard page.
struct Tensors {
  explicit Tensors(std::int64_t n, FloatType type)
      : weight(static_cast<std::size_t>(n * SizeOf(type))),
        codes(static_cast<std::size_t>(n)),
        direction(static_cast<std::size_t>(n)),
        frequency(static_cast<std::size_t>(4 * n)),
        mean_code(static_cast<std::size_t>(4 * n)),
        frozen(static_cast<std::size_t>(n)) {}

  void Attach(OscillationUpdateArgs& args) {
    args.weight = weight.data<void>();
    args.codes = codes.data<std::int8_t>();
    args.direction = direction.data<std::int8_t>();
    args.frequency = frequency.data<float>();
    args.mean_code = mean_code.data<float>();
    args.frozen = frozen.data();
  }

  GuardedBuffer weight, codes, direction, frequency, mean_code, frozen;
};

// A state as it may be in the middle of training, with everything that a damaged file may hold.
void FillState(std::mt19937& random, std::int64_t n, testing::CodeRange range, Tensors& t) {
  const auto width = static_cast<std::uint32_t>(range.qmax - range.qmin + 1);
  for (std::int64_t e = 0; e < n; ++e) {
    const int code = range.qmin + static_cast<int>(random() % width);
    t.codes.data<std::int8_t>()[e] = static_cast<std::int8_t>(code);
    t.direction.data<std::int8_t>()[e] =
        static_cast<std::int8_t>(static_cast<int>(random() % 3) - 1);
    t.frequency.data<float>()[e] = static_cast<float>(random() % 100) * 0.001F;
    const float mean = static_cast<float>(code) + 0.5F * static_cast<float>(random() % 3);
    const float means[] = {std::nanf(""), 1e30F, mean, mean, mean, mean};
    t.mean_code.data<float>()[e] = means[random() % 6];
    t.frozen.data()[e] = random() % 4 == 0 ? 1 : 0;
  }
}

class OscillationUpdate : public ::testing::TestWithParam<const cpu::KernelTable*> {};

TEST_P(OscillationUpdate, EqualsReferenceAtEverySize) {
  std::mt19937 random(3);
  for (const std::int64_t n : testing::Sizes()) {
    for (const FloatType type : testing::kFloatTypes) {
      for (const QuantLayout& layout : testing::Layouts(n)) {
        const testing::CodeRange range = testing::kRanges[random() % 9];  // the signed ones
        const testing::QParamArrays q = testing::RandomQParams(random, layout, range);
        Tensors actual(n, type), expected(n, type);
        testing::FillHard(random, layout, q.scale, type, expected.weight.data());
        FillState(random, n, range, expected);
        const auto copy = [](GuardedBuffer& to, GuardedBuffer& from) {
          std::memcpy(to.data(), from.data(), from.size());
        };
        copy(actual.weight, expected.weight);
        copy(actual.codes, expected.codes);
        copy(actual.direction, expected.direction);
        copy(actual.frequency, expected.frequency);
        copy(actual.mean_code, expected.mean_code);
        copy(actual.frozen, expected.frozen);
        OscillationUpdateArgs args;
        args.dtype = type;
        args.layout = layout;
        args.scale = q.scale.data();
        args.zero_point = q.zero_point.data();
        args.qmin = range.qmin;
        args.qmax = range.qmax;
        args.momentum = 0.01F;
        if (random() % 4 != 0) args.freeze_threshold = 0.05F;
        actual.Attach(args);
        GetParam()->oscillation_update(args, 0, n);
        expected.Attach(args);
        reference::oscillation_update_ref(args);
        testing::ExpectSameFloats(actual.weight.data(), expected.weight.data(), type, n);
        testing::ExpectSameFloats(actual.frequency.data(), expected.frequency.data(),
                                  FloatType::kFloat32, n);
        testing::ExpectSameFloats(actual.mean_code.data(), expected.mean_code.data(),
                                  FloatType::kFloat32, n);
        for (std::int64_t e = 0; e < n; ++e) {
          ASSERT_EQ(actual.codes.data()[e], expected.codes.data()[e]) << e << " of " << n;
          ASSERT_EQ(actual.direction.data()[e], expected.direction.data()[e]) << e << " of " << n;
          ASSERT_EQ(actual.frozen.data()[e], expected.frozen.data()[e]) << e << " of " << n;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, OscillationUpdate, ::testing::ValuesIn(testing::Variants()),
                         testing::VariantName);

// One weight with step 1 and 3-bit codes over a course of values.
struct Weight {
  float value = 0.0F, scale = 1.0F, frequency = 0.0F, mean_code = std::nanf("");
  std::int8_t code = 0, direction = 0;
  std::uint8_t frozen = 0;

  void Step(float next, float momentum, float threshold) {
    const std::int32_t zero_point = 0;
    value = next;
    OscillationUpdateArgs args;
    args.layout = QuantLayout::PerTensor(1);
    args.weight = &value;
    args.scale = &scale;
    args.zero_point = &zero_point;
    args.qmin = -4;
    args.qmax = 3;
    args.codes = &code;
    args.direction = &direction;
    args.frequency = &frequency;
    args.mean_code = &mean_code;
    args.frozen = &frozen;
    args.momentum = momentum;
    args.freeze_threshold = threshold;
    oscillation_update(args);
  }
};

constexpr float kNever = std::numeric_limits<float>::infinity();

TEST(OscillationRule, OnlyAChangeAgainstTheLastOneCounts) {
  Weight weight;
  weight.Step(1.2F, 0.5F, kNever);  // first sight
  EXPECT_EQ(weight.code, 1);
  EXPECT_EQ(weight.mean_code, 1.0F);
  EXPECT_EQ(weight.direction, 0);
  weight.Step(1.6F, 0.5F, kNever);  // the first change is none
  EXPECT_EQ(weight.direction, 1);
  EXPECT_EQ(weight.frequency, 0.0F);
  EXPECT_EQ(weight.mean_code, 1.5F);
  weight.Step(2.6F, 0.5F, kNever);  // on in the same direction
  EXPECT_EQ(weight.frequency, 0.0F);
  weight.Step(2.7F, 0.5F, kNever);  // no change: the direction stays
  EXPECT_EQ(weight.direction, 1);
  weight.Step(1.2F, 0.5F, kNever);  // back, over two codes at once
  EXPECT_EQ(weight.direction, -1);
  EXPECT_EQ(weight.frequency, 0.5F);
  weight.Step(1.2F, 0.5F, kNever);
  EXPECT_EQ(weight.frequency, 0.25F);
  weight.Step(1.7F, 0.5F, kNever);
  EXPECT_EQ(weight.frequency, 0.625F);
  EXPECT_EQ(weight.frozen, 0);
}

TEST(OscillationRule, FreezesAtTheMeanAndFollowsTheScale) {
  Weight weight;
  weight.Step(1.4F, 0.25F, 0.2F);
  weight.Step(1.6F, 0.25F, 0.2F);
  EXPECT_EQ(weight.frozen, 0);
  weight.Step(1.4F, 0.25F, 0.2F);  // frequency 0.25, mean (1 * 3 + 2) / 4 * 3 / 4 + 1 / 4
  EXPECT_EQ(weight.frozen, 1);
  EXPECT_EQ(weight.code, 1);
  EXPECT_EQ(weight.value, 1.0F);
  weight.scale = 0.5F;
  weight.Step(-1.9F, 0.25F, kNever);  // the optimizer moved it, and the threshold is gone
  EXPECT_EQ(weight.value, 0.5F);
  EXPECT_EQ(weight.code, 1);
  EXPECT_EQ(weight.frequency, 0.25F);
}

}  // namespace
}  // namespace edgeqat
