// SPDX-License-Identifier: Apache-2.0
// Every kernel of the STE family on every instruction set, element type and size, on one thread.
//
//   make bench                                        # all, about two minutes
//   make bench FILTER='(memcpy|fake_quantize/v4)/.*float32' ARGS=--benchmark_repetitions=9
//
// Times are processor time. Compare with the floors of the same run (memcpy, relu), because the
// memory of a shared machine changes from minute to minute: hence the interleaving.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "cpu/chunks.h"
#include "cpu/isa_table.h"
#include "cpu/observe_chunks.h"
#include "data.h"
#include "floors.h"

namespace edgeqat::bench {
namespace {

// 32 Ki: first and second-level cache. 4 Mi: the bar against ReLU. 32 Mi: beyond every cache.
constexpr std::int64_t kSizes[] = {1 << 15, 1 << 22, 1 << 25};
constexpr std::pair<FloatType, const char*> kTypes[] = {
    {FloatType::kFloat32, "float32"},
    {FloatType::kBFloat16, "bfloat16"},
    {FloatType::kFloat16, "float16"},
};

// One tensor for each type and size, shared by the benchmarks, so that none pays for page faults.
Data& DataFor(FloatType type, std::int64_t count) {
  static std::map<std::pair<FloatType, std::int64_t>, std::unique_ptr<Data>> all;
  auto& found = all[{type, count}];
  if (found == nullptr) found = std::make_unique<Data>(type, count);
  return *found;
}

using Body = std::function<void(Data& data)>;

void Add(const std::string& name, FloatType type, const char* type_name, std::int64_t moved,
         const Body& body) {
  for (const std::int64_t count : kSizes) {
    const std::string label = name + "/" + type_name + "/" + std::to_string(count);
    benchmark::RegisterBenchmark(label.c_str(), [=](benchmark::State& state) {
      Data& data = DataFor(type, count);
      for ([[maybe_unused]] auto iteration : state) {
        body(data);
        benchmark::ClobberMemory();
      }
      state.SetItemsProcessed(state.iterations() * count);
      state.SetBytesProcessed(state.iterations() * count * moved);
    })->Unit(benchmark::kMicrosecond);
  }
}

void AddKernels(const cpu::KernelTable& kernels, FloatType type, const char* type_name) {
  const std::string isa = std::string("/").append(IsaName(kernels.isa));
  const std::int64_t moved = 2 * SizeOf(type);
  const auto quantize = [&kernels](const FakeQuantizeArgs& args) {
    cpu::ForChunks(args.layout.numel(), {}, [&](std::int64_t begin, std::int64_t end) {
      kernels.fake_quantize(args, begin, end);
    });
  };
  Add("fake_quantize" + isa, type, type_name, moved, [=](Data& data) { quantize(data.quantize); });
  for (int kind = 0; kind < kActivationKinds; ++kind) {
    const std::string names[] = {"", "_relu", "_relu6", "_hardswish"};
    Add("fake_quantize_train" + names[kind] + isa, type, type_name, moved, [=](Data& data) {
      FakeQuantizeArgs args = data.quantize;
      args.bits = data.bits();
      args.activation = static_cast<ActivationKind>(kind);
      quantize(args);
    });
  }
  Add("fake_quantize_backward" + isa, type, type_name, moved,
      [&kernels](Data& data) { kernels.fake_quantize_backward(data.backward, 0, data.count()); });
  Add("observe_minmax" + isa, type, type_name, moved / 2, [&kernels](Data& data) {
    std::int32_t low = cpu::kInfKey;
    std::int32_t high = cpu::kNegInfKey;
    const ObserveMinmaxArgs args = {
        .dtype = data.quantize.dtype, .layout = data.quantize.layout, .x = data.quantize.x};
    benchmark::DoNotOptimize(kernels.observe_minmax(args, 0, data.count(), &low, &high));
  });
  Add("observe_fake_quantize" + isa, type, type_name, moved, [&kernels](Data& data) {
    std::int32_t low = cpu::kInfKey;
    std::int32_t high = cpu::kNegInfKey;
    FakeQuantizeArgs args = data.quantize;
    args.bits = data.bits();
    benchmark::DoNotOptimize(kernels.observe_fake_quantize(args, 0, data.count(), &low, &high));
  });
}

void AddAll() {
  for (const auto& [type, type_name] : kTypes) {
    const std::int64_t size = SizeOf(type);
    Add("memcpy/floor", type, type_name, 2 * size, [size](Data& data) {
      std::memcpy(data.quantize.y, data.quantize.x, static_cast<std::size_t>(data.count() * size));
    });
    Add("streamed_copy/floor", type, type_name, 2 * size, [size](Data& data) {
      StreamedCopy(data.quantize.x, data.count() * size, data.quantize.y);
    });
    if (type == FloatType::kFloat32) {
      Add("relu/floor", type, type_name, 2 * size, [](Data& data) {
        Relu(static_cast<const float*>(data.quantize.x), data.count(),
             static_cast<float*>(data.quantize.y));
      });
    }
    for (const Isa isa : AvailableIsas()) AddKernels(cpu::KernelsFor(isa), type, type_name);
  }
}

}  // namespace
}  // namespace edgeqat::bench

int main(int argc, char** argv) {
  edgeqat::bench::AddAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
