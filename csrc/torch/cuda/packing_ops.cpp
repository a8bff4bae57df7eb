// SPDX-License-Identifier: Apache-2.0
// pack and unpack on CUDA.
#include <torch/csrc/stable/library.h>

#include <vector>

#include "cuda/packing.h"
#include "edgeqat/packing.h"
#include "torch/alloc.h"
#include "torch/check.h"
#include "torch/cuda/device.h"

namespace edgeqat::torch_ops {

Tensor pack_cuda(const Tensor& codes, std::int64_t bits) {
  CheckCodes("pack", "codes", codes);
  CheckPackBits("pack", bits);

  const CudaScope scope(codes);
  const Tensor values = RowMajor(codes);
  const std::int64_t bytes = PackedBytes(codes.numel(), static_cast<int>(bits));
  Tensor packed = EmptyRowMajor({&bytes, 1}, ScalarType::Byte, codes);
  cuda::pack(values.const_data_ptr(), codes.numel(), static_cast<int>(bits),
             packed.mutable_data_ptr<std::uint8_t>(), scope.stream());
  scope.CheckLaunch();
  return packed;
}

Tensor unpack_cuda(const Tensor& packed, std::int64_t bits, std::vector<std::int64_t> shape,
                   bool is_signed) {
  CheckDtype("unpack", "packed", packed, ScalarType::Byte);
  CheckPackBits("unpack", bits);
  const std::int64_t count = CheckUnpackShape(packed, bits, shape);

  const CudaScope scope(packed);
  const Tensor bytes = RowMajor(packed);
  Tensor codes = EmptyRowMajor(shape, is_signed ? ScalarType::Char : ScalarType::Byte, packed);
  cuda::unpack(bytes.const_data_ptr<std::uint8_t>(), count, static_cast<int>(bits), is_signed,
               codes.mutable_data_ptr(), scope.stream());
  scope.CheckLaunch();
  return codes;
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CUDA, m) {
  m.impl("pack", TORCH_BOX(&pack_cuda));
  m.impl("unpack", TORCH_BOX(&unpack_cuda));
}

}  // namespace edgeqat::torch_ops
