// SPDX-License-Identifier: Apache-2.0
// The CPU instruction sets that the kernels are compiled for, and which one is in use.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace edgeqat {

// Named after the x86-64 psABI levels: baseline = SSE2 (or plain AArch64), v3 = AVX2 + FMA + F16C,
// v4 = AVX-512 F/BW/CD/DQ/VL. Every kernel gives the same bits in each of them.
enum class Isa : std::uint8_t { kBaseline, kV3, kV4 };

// "baseline", "v3" or "v4".
[[nodiscard]] std::string_view IsaName(Isa isa);

// What this build has and this CPU can run, slowest first; never empty.
[[nodiscard]] std::vector<Isa> AvailableIsas();

// The instruction set in use: the best available one, or the one named by the environment variable
// EDGEQAT_CPU_ISA, which is read once, at the first call. Errors: kInvalidArgument if the variable
// holds an unknown name, kUnsupported if this CPU or build cannot run it.
[[nodiscard]] Isa ActiveIsa();

}  // namespace edgeqat
