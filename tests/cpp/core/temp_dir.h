// SPDX-License-Identifier: Apache-2.0
// A directory for one test, removed at its end, and whole files as strings.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "edgeqat/error.h"

namespace edgeqat::testing {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "edgeqat-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] std::string operator/(std::string_view name) const {
    return path_ + "/" + std::string(name);
  }

  // Names of all entries, sorted.
  [[nodiscard]] std::vector<std::string> List() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::string path_;
};

inline std::string ReadAll(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void WriteAll(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// The error that `call` throws; a failed test where it throws none.
template <typename Call>
Error ErrorOf(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return {ErrorCode::kInternal, ""};
}

// Expects an error of that code whose message holds `part`.
#define EXPECT_ERROR(statement, expected_code, part)                                      \
  do {                                                                                    \
    const ::edgeqat::Error error_ = ::edgeqat::testing::ErrorOf([&] { statement; });      \
    EXPECT_EQ(error_.code(), expected_code) << error_.what();                             \
    EXPECT_NE(std::string(error_.what()).find(part), std::string::npos) << error_.what(); \
  } while (false)

}  // namespace edgeqat::testing
