// SPDX-License-Identifier: Apache-2.0
// libFuzzer's part for compilers without it: replays a corpus, then runs a fixed number of seeded
// mutations of it.
//
//   parsers_fuzz CORPUS [mutations] [seed]
//
// The input that ended the program (a sanitizer's finding, a broken promise, more than 20 s) is
// left in the file fuzz-input; `parsers_fuzz fuzz-input` runs it again.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned int seed);
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

using Bytes = std::vector<std::uint8_t>;

struct Corpus {
  std::vector<Bytes> files;
  std::vector<std::size_t>
      valid;  // named valid-*: without coverage to follow, the best to start from
};

constexpr std::size_t kMaxSize = 1 << 16;
constexpr unsigned kSecondsPerInput = 20;

std::minstd_rand generator;  // of LLVMFuzzerMutate; seeded for each input
const std::uint8_t* current = nullptr;
std::size_t current_size = 0;

// Only calls that a signal handler may make.
void KeepCurrentInput() {
  const int file = open("fuzz-input", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return;
  const bool kept = write(file, current, current_size) == static_cast<ssize_t>(current_size);
  close(file);
  constexpr char kText[] = "fuzz: the input is in the file fuzz-input\n";
  if (kept) static_cast<void>(!write(STDERR_FILENO, kText, sizeof kText - 1));
}

void OnSignal(int signal_number) {
  KeepCurrentInput();
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void Run(const Bytes& input) {
  current = input.data();
  current_size = input.size();
  alarm(kSecondsPerInput);
  LLVMFuzzerTestOneInput(input.data(), input.size());
  alarm(0);
}

Corpus ReadCorpus(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> files;
  if (std::filesystem::is_regular_file(path)) {
    files.push_back(path);
  } else {
    for (const auto& entry : std::filesystem::directory_iterator(path))
      files.push_back(entry.path());
  }
  std::ranges::sort(files);
  Corpus corpus;
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    if (file.filename().string().starts_with("valid")) corpus.valid.push_back(corpus.files.size());
    corpus.files.emplace_back(std::istreambuf_iterator<char>(stream),
                              std::istreambuf_iterator<char>());
  }
  return corpus;
}

}  // namespace

// One change at a random place: a flipped bit, another byte, bytes removed, or bytes of the input
// doubled.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size,
                                        std::size_t max_size) {
  if (size == 0) return 0;
  const std::size_t at = generator() % size;
  const std::size_t length = std::min<std::size_t>(1 + generator() % 16, size - at);
  switch (generator() % 4) {
    case 0:
      data[at] ^= static_cast<std::uint8_t>(1U << generator() % 8);
      return size;
    case 1:
      data[at] = static_cast<std::uint8_t>(generator());
      return size;
    case 2:
      std::memmove(data + at, data + at + length, size - at - length);
      return size - length;
    default:
      if (size + length > max_size) return size;
      std::memmove(data + at + length, data + at, size - at);
      return size + length;
  }
}

int main(int argc, char** argv) {
  if (argc < 2 || !std::filesystem::exists(argv[1])) {
    std::fprintf(stderr, "usage: %s CORPUS [mutations] [seed]; CORPUS is a file or a folder\n",
                 argv[0]);
    return 2;
  }
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(KeepCurrentInput);
  for (const int number : {SIGABRT, SIGALRM}) signal(number, OnSignal);
  const Corpus corpus = ReadCorpus(argv[1]);
  if (corpus.files.empty()) {
    std::fprintf(stderr, "fuzz: %s holds no file\n", argv[1]);
    return 2;
  }
  for (const Bytes& input : corpus.files) Run(input);
  const long mutations = argc > 2 ? std::atol(argv[2]) : 0;
  std::minstd_rand random(argc > 3 ? static_cast<unsigned>(std::atol(argv[3])) : 1U);
  for (long i = 0; i < mutations; ++i) {
    const bool from_valid = !corpus.valid.empty() && random() % 4 != 0;
    Bytes input = corpus.files[from_valid ? corpus.valid[random() % corpus.valid.size()]
                                          : random() % corpus.files.size()];
    if (input.size() > kMaxSize) continue;
    const std::size_t size = input.size();
    std::size_t now = size;
    input.resize(kMaxSize);
    for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
      generator.seed(random());
      now = LLVMFuzzerCustomMutator(input.data(), now, kMaxSize, static_cast<unsigned>(random()));
    }
    input.resize(now);
    Run(input);
  }
  std::printf("fuzz: %zu files replayed, %ld mutations\n", corpus.files.size(), mutations);
  return 0;
}
