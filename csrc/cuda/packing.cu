// SPDX-License-Identifier: Apache-2.0
// pack and unpack: a thread owns 16 codes, which are 4, 8 or 16 whole bytes.
#include "cuda/launch.cuh"
#include "cuda/packing.h"

namespace edgeqat::cuda {
namespace {

constexpr int kCodes = 16;

template <int kBits>
__global__ void PackKernel(const std::uint8_t* codes, std::int64_t count, std::uint8_t* packed,
                           bool aligned) {
  constexpr int kPerByte = 8 / kBits;
  constexpr int kBytes = kCodes / kPerByte;
  for (std::int64_t first = FirstItem() * kCodes; first < count; first += ItemStride() * kCodes) {
    const int here = ChunkCount(first, count, kCodes);
    const bool whole = aligned && here == kCodes;
    const auto in = LoadPack<std::uint8_t, kCodes>(codes, first, here, whole);
    Pack<std::uint8_t, kBytes> out{};
    for (int k = 0; k < kCodes; ++k) {  // codes beyond `here` are 0: so are the spare bits
      const unsigned code = in.values[k] & ((1u << kBits) - 1u);
      out.values[k / kPerByte] |= static_cast<std::uint8_t>(code << (k % kPerByte * kBits));
    }
    const int bytes = static_cast<int>(CeilDivide(here, kPerByte));
    StorePack(packed, first / kPerByte, bytes, whole, out);
  }
}

template <int kBits>
__global__ void UnpackKernel(const std::uint8_t* packed, std::int64_t count, bool is_signed,
                             std::uint8_t* codes, bool aligned) {
  constexpr int kPerByte = 8 / kBits;
  constexpr int kBytes = kCodes / kPerByte;
  constexpr unsigned kMask = (1u << kBits) - 1u;
  for (std::int64_t first = FirstItem() * kCodes; first < count; first += ItemStride() * kCodes) {
    const int here = ChunkCount(first, count, kCodes);
    const bool whole = aligned && here == kCodes;
    const int bytes = static_cast<int>(CeilDivide(here, kPerByte));
    const auto in = LoadPack<std::uint8_t, kBytes>(packed, first / kPerByte, bytes, whole);
    Pack<std::uint8_t, kCodes> out{};
    for (int k = 0; k < kCodes; ++k) {
      const unsigned code = (in.values[k / kPerByte] >> (k % kPerByte * kBits)) & kMask;
      const bool negative = is_signed && (code >> (kBits - 1)) != 0;
      out.values[k] = static_cast<std::uint8_t>(negative ? code | ~kMask : code);
    }
    StorePack(codes, first, here, whole, out);
  }
}

// Calls visitor.operator()<kBits>(); bits other than 2, 4 and 8 are refused before.
template <typename Visitor>
void VisitBits(int bits, Visitor visitor) {
  if (bits == 2) visitor.template operator()<2>();
  if (bits == 4) visitor.template operator()<4>();
  if (bits == 8) visitor.template operator()<8>();
}

}  // namespace

void pack(const void* codes, std::int64_t count, int bits, std::uint8_t* packed,
          cudaStream_t stream) {
  const int blocks = GridBlocks(CeilDivide(count, kCodes), MultiprocessorCount());
  const bool aligned = AreAligned(16, codes, packed);
  const auto* bytes = static_cast<const std::uint8_t*>(codes);
  VisitBits(bits, [&]<int kBits>() {
    Launch(&PackKernel<kBits>, blocks, stream, bytes, count, packed, aligned);
  });
}

void unpack(const std::uint8_t* packed, std::int64_t count, int bits, bool is_signed, void* codes,
            cudaStream_t stream) {
  const int blocks = GridBlocks(CeilDivide(count, kCodes), MultiprocessorCount());
  const bool aligned = AreAligned(16, codes, packed);
  auto* bytes = static_cast<std::uint8_t*>(codes);
  VisitBits(bits, [&]<int kBits>() {
    Launch(&UnpackKernel<kBits>, blocks, stream, packed, count, is_signed, bytes, aligned);
  });
}

}  // namespace edgeqat::cuda
