// SPDX-License-Identifier: Apache-2.0
// Which instruction sets this CPU has, and which one EDGEQAT_CPU_ISA asks for.
#include "edgeqat/isa.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "cpu/target.h"
#include "edgeqat/error.h"

namespace edgeqat {
namespace {

constexpr Isa kAll[] = {Isa::kBaseline, Isa::kV3, Isa::kV4};

bool CpuHas([[maybe_unused]] Isa isa) {
  if (isa == Isa::kBaseline) return true;
#if EDGEQAT_X86
  // The operating system must save the wide registers too; the compiler's builtin checks XCR0.
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") &&
                  __builtin_cpu_supports("movbe");
  if (isa == Isa::kV3) return v3;
  return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

std::string Names(const std::vector<Isa>& isas) {
  std::string names;
  for (const Isa isa : isas) names.append(names.empty() ? "" : ", ").append(IsaName(isa));
  return names;
}

Isa ChooseIsa() {
  const std::vector<Isa> available = AvailableIsas();
  const char* const wanted = std::getenv("EDGEQAT_CPU_ISA");
  if (wanted == nullptr || *wanted == '\0') return available.back();
  const auto* const found = std::find_if(std::begin(kAll), std::end(kAll),
                                         [&](Isa isa) { return IsaName(isa) == wanted; });
  if (found == std::end(kAll)) {
    throw Error(ErrorCode::kInvalidArgument,
                "EDGEQAT_CPU_ISA must be one of baseline, v3, v4, found '" + std::string(wanted) +
                    "'. Unset it or use one of: " + Names(available) + ".");
  }
  if (std::find(available.begin(), available.end(), *found) == available.end()) {
    throw Error(ErrorCode::kUnsupported,
                "EDGEQAT_CPU_ISA asks for '" + std::string(wanted) +
                    "', which this CPU or build cannot run. Unset it or use "
                    "one of: " +
                    Names(available) + ".");
  }
  return *found;
}

}  // namespace

std::string_view IsaName(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kV3:
      return "v3";
    case Isa::kV4:
      return "v4";
  }
  return "unknown";
}

std::vector<Isa> AvailableIsas() {
  std::vector<Isa> available;
  std::copy_if(std::begin(kAll), std::end(kAll), std::back_inserter(available), CpuHas);
  return available;
}

Isa ActiveIsa() {
  static const Isa active = ChooseIsa();  // a throwing initialiser runs again at the next call
  return active;
}

}  // namespace edgeqat
