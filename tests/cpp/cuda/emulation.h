// SPDX-License-Identifier: Apache-2.0
// The CUDA execution model on the host, for the .cu files built as plain C++.
//
// Every thread of the grid runs, with its own indices and its own stack; the threads of a block
// share memory and run one after the other from barrier to barrier. That is the harshest order for
// a missing barrier: thread 0 gets as far ahead of the others as the barriers let it (or the last
// thread, with emulation.reversed). Not emulated: warps, memory ordering, timing.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <vector>

#include "cuda/grid.h"
#include "cuda/stream.h"

#define __global__
#define __device__
#define __shared__ static  // blocks run one after the other

namespace edgeqat::cuda {

struct Dimension {
  unsigned x = 1;
};
inline Dimension threadIdx;
inline Dimension blockIdx;
inline Dimension blockDim{kBlockThreads};
inline Dimension gridDim;

// The emulated device. Few multiprocessors: small tensors already take several grid strides.
struct Emulation {
  int multiprocessors = 1;
  bool reversed = false;
  int launches = 0;
};
inline Emulation emulation;

inline int MultiprocessorCount() { return emulation.multiprocessors; }

// One block: a coroutine per thread.
class EmulatedBlock {
 public:
  static EmulatedBlock& Get() {
    static EmulatedBlock block;
    return block;
  }

  void Run(const std::function<void()>& kernel) {
    kernel_ = &kernel;
    for (Thread& thread : threads_) {
      thread.finished = false;
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = thread.stack.data();
      thread.context.uc_stack.ss_size = thread.stack.size();
      thread.context.uc_link = &scheduler_;
      makecontext(&thread.context, &EmulatedBlock::Enter, 0);
    }
    std::size_t finished = 0;
    while (finished < threads_.size()) {
      finished = 0;
      for (std::size_t i = 0; i < threads_.size(); ++i) {
        current_ = emulation.reversed ? threads_.size() - 1 - i : i;
        threadIdx.x = static_cast<unsigned>(current_);
        swapcontext(&scheduler_, &threads_[current_].context);
        finished += threads_[current_].finished ? 1 : 0;
      }
      if (finished != 0 && finished != threads_.size()) {
        std::cerr << "emulation: some threads of the block left, others wait at a barrier\n";
        std::abort();
      }
    }
  }

  void Barrier() { swapcontext(&threads_[current_].context, &scheduler_); }

 private:
  struct Thread {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(std::size_t{64} << 10);
    bool finished = false;
  };

  static void Enter() {
    EmulatedBlock& block = Get();
    (*block.kernel_)();
    block.threads_[block.current_].finished = true;
  }

  std::vector<Thread> threads_ = std::vector<Thread>(kBlockThreads);
  ucontext_t scheduler_;
  std::size_t current_ = 0;
  const std::function<void()>* kernel_ = nullptr;
};

inline void __syncthreads() { EmulatedBlock::Get().Barrier(); }

inline unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
  const unsigned long long old = *address;
  *address = old + value;
  return old;
}

template <typename... Parameters>
void Launch(void (*kernel)(Parameters...), int blocks, cudaStream_t, Parameters... arguments) {
  if (blocks == 0) return;
  ++emulation.launches;
  gridDim.x = static_cast<unsigned>(blocks);
  for (unsigned block = 0; block < gridDim.x; ++block) {
    blockIdx.x = block;
    EmulatedBlock::Get().Run([&] { kernel(arguments...); });
  }
}

}  // namespace edgeqat::cuda
