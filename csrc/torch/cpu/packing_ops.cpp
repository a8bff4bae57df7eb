// SPDX-License-Identifier: Apache-2.0
// pack and unpack on the CPU.
#include <torch/csrc/stable/library.h>

#include <vector>

#include "edgeqat/packing.h"
#include "torch/alloc.h"
#include "torch/check.h"

namespace edgeqat::torch_ops {

Tensor pack_cpu(const Tensor& codes, std::int64_t bits) {
  const bool is_signed = CheckCodes("pack", "codes", codes);
  CheckPackBits("pack", bits);
  const Tensor values = RowMajor(codes);
  const std::int64_t bytes = PackedBytes(codes.numel(), static_cast<int>(bits));
  Tensor packed = EmptyRowMajor({&bytes, 1}, ScalarType::Byte, codes);
  edgeqat::pack(values.const_data_ptr(), is_signed, codes.numel(), static_cast<int>(bits),
                packed.mutable_data_ptr<std::uint8_t>());
  return packed;
}

Tensor unpack_cpu(const Tensor& packed, std::int64_t bits, std::vector<std::int64_t> shape,
                  bool is_signed) {
  CheckDtype("unpack", "packed", packed, ScalarType::Byte);
  CheckPackBits("unpack", bits);
  const std::int64_t count = CheckUnpackShape(packed, bits, shape);
  const Tensor bytes = RowMajor(packed);
  Tensor codes = EmptyRowMajor(shape, is_signed ? ScalarType::Char : ScalarType::Byte, packed);
  edgeqat::unpack(bytes.const_data_ptr<std::uint8_t>(), count, static_cast<int>(bits), is_signed,
                  codes.mutable_data_ptr());
  return codes;
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("pack", TORCH_BOX(&pack_cpu));
  m.impl("unpack", TORCH_BOX(&unpack_cpu));
}

}  // namespace edgeqat::torch_ops
