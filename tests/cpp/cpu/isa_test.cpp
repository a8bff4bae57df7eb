// SPDX-License-Identifier: Apache-2.0
// The list of instruction sets, and the environment variable that forces one.
#include "edgeqat/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "cpu/isa_table.h"
#include "edgeqat/error.h"

namespace edgeqat {
namespace {

TEST(Isa, TableHasARowForEveryAvailableIsa) {
  const std::vector<Isa> available = AvailableIsas();
  ASSERT_FALSE(available.empty());
  EXPECT_EQ(available.front(), Isa::kBaseline);
  for (const Isa isa : available) EXPECT_EQ(cpu::KernelsFor(isa).isa, isa);
  for (const cpu::KernelTable& row : cpu::AllKernels()) {
    EXPECT_NE(row.fake_quantize, nullptr);
    EXPECT_NE(row.fake_quantize_backward, nullptr);
    EXPECT_NE(row.quantize, nullptr);
    EXPECT_NE(row.dequantize, nullptr);
    EXPECT_NE(row.observe_minmax, nullptr);
  }
}

// The choice is made once per process, so each case runs in a process of its own.
int ChosenIn(const char* value) {
  setenv("EDGEQAT_CPU_ISA", value, 1);
  try {
    return static_cast<int>(ActiveIsa());
  } catch (const Error& error) {
    const std::string message = error.what();
    return message.find(value) != std::string::npos && message.find("baseline") != std::string::npos
               ? 100 + static_cast<int>(error.code())
               : 99;
  }
}

TEST(IsaDeathTest, EnvironmentForcesAnIsa) {
  // "threadsafe" starts the program again, so that nothing has chosen yet; "fast", where an
  // emulator cannot be started that way, needs this test to be the only one of its process.
  if (std::getenv("GTEST_DEATH_TEST_STYLE") == nullptr) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
  for (const Isa isa : AvailableIsas()) {
    const std::string name(IsaName(isa));
    EXPECT_EXIT(std::exit(ChosenIn(name.c_str())), ::testing::ExitedWithCode(static_cast<int>(isa)),
                "");
  }
  EXPECT_EXIT(std::exit(ChosenIn("avx9")),
              ::testing::ExitedWithCode(100 + static_cast<int>(ErrorCode::kInvalidArgument)), "");
}

}  // namespace
}  // namespace edgeqat
