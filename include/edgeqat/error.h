// SPDX-License-Identifier: Apache-2.0
// The one exception type that the library throws, with a code that bindings map to their own types.
#pragma once

#include <stdexcept>
#include <string>

namespace edgeqat {

enum class ErrorCode {
  kInvalidArgument,  // an argument has the wrong type, shape or value -> Python ValueError
  kOutOfRange,       // an index or axis outside its range             -> Python IndexError
  kUnsupported,      // valid, but not for this build or runtime       -> Python NotImplementedError
  kCorruptFile,      // a damaged, truncated or oversized file         -> Python edgeqat.FormatError
  kIo,               // the operating system refused                   -> Python OSError
  kInternal,         // a bug in edgeqat                               -> Python RuntimeError
};

// The message is one line: what (op or file), the argument, what was expected, what was found, and
// the next step.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace edgeqat
