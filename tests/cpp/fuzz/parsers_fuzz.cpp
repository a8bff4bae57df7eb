// SPDX-License-Identifier: Apache-2.0
// Fuzz target of the parsers: any bytes, taken as a checkpoint and as the text of a graph, are
// refused with an Error that says kCorruptFile, or are read; what was read is written and read
// again and must be the same.
//
// LLVMFuzzerTestOneInput and LLVMFuzzerCustomMutator are libFuzzer's interface; driver.cpp offers
// it without clang.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "edgeqat/checkpoint.h"
#include "edgeqat/error.h"
#include "edgeqat/graph.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using edgeqat::Error;
using edgeqat::ErrorCode;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

// Runs one parser; true where it accepted. Any exception that is no Error ends the program.
template <typename Parse>
bool Accepts(Parse parse) {
  try {
    parse();
    return true;
  } catch (const Error& error) {
    Require(error.code() == ErrorCode::kCorruptFile, error.what());
    Require(std::string_view(error.what()).size() < 8192, "an error message of 8 KiB or more");
    return false;
  }
}

void ParseAsGraph(std::string_view text) {
  edgeqat::Graph graph;
  if (!Accepts([&] { graph = edgeqat::ParseGraph(text); })) return;
  const std::string written = edgeqat::SerializeGraph(graph);
  const edgeqat::Graph again = edgeqat::ParseGraph(written);
  Require(again == graph, "a graph differs after writing and reading");
  Require(edgeqat::SerializeGraph(again) == written, "equal graphs gave different text");
}

// A file in memory, at a path that LoadCheckpoint can open.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("edgeqat-fuzz", MFD_CLOEXEC)) {
    Require(descriptor_ >= 0, "memfd_create failed");
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  void Fill(const std::uint8_t* data, std::size_t size) const {
    Require(ftruncate(descriptor_, 0) == 0, "ftruncate failed");
    Require(pwrite(descriptor_, data, size, 0) == static_cast<ssize_t>(size), "pwrite failed");
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  int descriptor_;
  std::string path_;
};

// Where accepted checkpoints are written again; memory where the system has it, since every save
// waits for the disk.
std::string SavePath() {
  const bool memory = access("/dev/shm", W_OK) == 0;
  const std::filesystem::path folder =
      memory ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path();
  return (folder / ("edgeqat-fuzz-" + std::to_string(getpid()))).string();
}

void ParseAsCheckpoint(const std::uint8_t* data, std::size_t size) {
  static const MemoryFile file;
  static const std::string saved = SavePath();
  file.Fill(data, size);
  static_cast<void>(
      Accepts([&] { static_cast<void>(edgeqat::ReadCheckpointHeader(file.path())); }));
  const bool verified = Accepts([&] { static_cast<void>(edgeqat::LoadCheckpoint(file.path())); });
  edgeqat::Checkpoint checkpoint;
  // without the checksums, which would stop almost every mutation before the checks behind them
  const bool accepted =
      Accepts([&] { checkpoint = edgeqat::LoadCheckpoint(file.path(), {.verify = false}); });
  Require(accepted || !verified, "accepted with checksums and refused without them");
  if (!accepted) return;
  if (!checkpoint.graph.empty()) ParseAsGraph(checkpoint.graph);
  edgeqat::SaveCheckpoint(saved, checkpoint);
  const edgeqat::Checkpoint again = edgeqat::LoadCheckpoint(saved);
  unlink(saved.c_str());
  Require(again == checkpoint, "a checkpoint differs after saving and loading");
}

// Numbers and values that overflow, end or turn around what the parsers compute with.
constexpr std::array<std::string_view, 21> kTokens = {"0",
                                                      "-1",
                                                      "1",
                                                      "255",
                                                      "4294967296",
                                                      "9223372036854775807",
                                                      "-9223372036854775808",
                                                      "18446744073709551615",
                                                      "1e308",
                                                      "0.5",
                                                      "null",
                                                      "true",
                                                      "[]",
                                                      "{}",
                                                      "\"\"",
                                                      "[1,5]",
                                                      "[[0]]",
                                                      "\"fc.weight\"",
                                                      "\\u0000",
                                                      "\\\"bits\\\":3",
                                                      "\"axis\":0"};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ParseAsGraph({reinterpret_cast<const char*>(data), size});
  ParseAsCheckpoint(data, size);
  return 0;
}

// Bytes changed at random, or a number or value of the text replaced; then, mostly, the length of a
// checkpoint's header made to fit, since 9 of 10 insertions would otherwise be refused at that
// field.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned int seed) {
  std::minstd_rand random(seed);
  std::uint64_t header = 0;
  if (size >= 8) std::memcpy(&header, data, 8);
  const bool framed = size > 8 && header <= size - 8;
  const std::size_t before = size;
  if (random() % 2 == 0) {
    size = LLVMFuzzerMutate(data, size, max_size);
  } else {
    const auto is_word = [](std::uint8_t c) {
      return c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
    };
    std::size_t begin = size == 0 ? 0 : random() % size;
    while (begin < size && !is_word(data[begin])) ++begin;
    std::size_t end = begin;
    while (end < size && is_word(data[end])) ++end;
    const std::string_view token = kTokens[random() % kTokens.size()];
    if (size - (end - begin) + token.size() > max_size) return size;
    std::memmove(data + begin + token.size(), data + end, size - end);
    std::memcpy(data + begin, token.data(), token.size());
    size += token.size() - (end - begin);
  }
  if (framed && size > 8 && random() % 4 != 0) {
    // the change is taken to lie in the header: its length grows by as much as the file
    const std::uint64_t fitted = header + size - before;
    std::memcpy(data, &fitted, 8);
  }
  return size;
}
