// SPDX-License-Identifier: Apache-2.0
// Uses the installed library as a C++ user does: parameters of a range, packed codes, a graph, an
// error.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "edgeqat/error.h"
#include "edgeqat/graph.h"
#include "edgeqat/packing.h"
#include "edgeqat/qparams.h"
#include "edgeqat/version.h"

int main() {
  const edgeqat::QParams p = edgeqat::ChooseQParams(-1.0F, 3.0F, -128, 127, /*symmetric=*/false);
  const std::int8_t codes[] = {1, -2, 7};
  std::vector<std::uint8_t> packed(static_cast<std::size_t>(edgeqat::PackedBytes(3, 4)));
  edgeqat::pack(codes, /*is_signed=*/true, 3, 4, packed.data());
  std::int8_t back[3] = {};
  edgeqat::unpack(packed.data(), 3, 4, /*is_signed=*/true, back);
  int refused = 0;
  try {
    edgeqat::ParseGraph("{\"format\": 1}");  // needs the archive's own dependencies at the link
  } catch (const edgeqat::Error& error) {
    refused = static_cast<int>(error.code() == edgeqat::ErrorCode::kCorruptFile);
  }
  std::printf("%s %.9g %d %02x%02x %d %d\n", edgeqat::Version().c_str(), p.scale, p.zero_point,
              packed[0], packed[1], static_cast<int>(std::memcmp(codes, back, 3) == 0), refused);
}
