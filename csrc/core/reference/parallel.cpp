// SPDX-License-Identifier: Apache-2.0
// Threads are started for each call: 30 us against the milliseconds of a layer on a batch.
#include "core/reference/parallel.h"

#include <algorithm>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace edgeqat::reference {

void ParallelFor(int threads, std::int64_t count,
                 const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t parts = std::clamp<std::int64_t>(threads, 1, std::max<std::int64_t>(count, 1));
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(parts));
  const auto run = [&](std::int64_t part) {
    try {
      body(count * part / parts, count * (part + 1) / parts);
    } catch (...) {
      errors[static_cast<std::size_t>(part)] = std::current_exception();
    }
  };
  std::vector<std::thread> workers;
  std::int64_t next = 1;
  try {
    for (; next < parts; ++next) workers.emplace_back(run, next);
  } catch (const std::system_error&) {
    for (; next < parts; ++next) run(next);  // the system has no more threads to give
  }
  run(0);
  for (std::thread& worker : workers) worker.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace edgeqat::reference
