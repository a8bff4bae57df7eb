// SPDX-License-Identifier: Apache-2.0
// Calls one kernel on 65,536 elements, so that callgrind can count its instructions.
//
//   edgeqat_call_kernel fake_quantize_train v3 float32
#include <cstdint>
#include <iostream>
#include <string>

#include "cpu/isa_table.h"
#include "cpu/observer-inl.h"
#include "data.h"

namespace edgeqat::bench {
namespace {

constexpr std::int64_t kCount = 1 << 16;

bool Call(const std::string& kernel, const cpu::KernelTable& kernels, Data& data) {
  std::int32_t low = cpu::kInfKey;
  std::int32_t high = cpu::kNegInfKey;
  FakeQuantizeArgs train = data.quantize;
  train.bits = data.bits();
  if (kernel == "none") return true;  // the data alone: what the others' counts begin at
  if (kernel == "fake_quantize") {
    kernels.fake_quantize(data.quantize, 0, kCount);
  } else if (kernel == "fake_quantize_train") {
    kernels.fake_quantize(train, 0, kCount);
  } else if (kernel == "fake_quantize_backward") {
    kernels.fake_quantize_backward(data.backward, 0, kCount);
  } else if (kernel == "observe_fake_quantize") {
    return kernels.observe_fake_quantize(train, 0, kCount, &low, &high) == 0;
  } else {
    return false;
  }
  return true;
}

}  // namespace
}  // namespace edgeqat::bench

int main(int argc, char** argv) {
  using namespace edgeqat;
  if (argc != 4) {
    std::cerr << "usage: edgeqat_call_kernel KERNEL baseline|v3|v4 float32|bfloat16|float16\n";
    return 2;
  }
  const std::string type = argv[3];
  const FloatType dtype = type == "float32"    ? FloatType::kFloat32
                          : type == "bfloat16" ? FloatType::kBFloat16
                                               : FloatType::kFloat16;
  bench::Data data(dtype, bench::kCount);
  for (const Isa isa : AvailableIsas()) {
    if (IsaName(isa) == argv[2]) return bench::Call(argv[1], cpu::KernelsFor(isa), data) ? 0 : 1;
  }
  std::cerr << "this CPU cannot run " << argv[2] << '\n';
  return 1;
}
