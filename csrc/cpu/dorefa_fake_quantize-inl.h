// SPDX-License-Identifier: Apache-2.0
// The loops of dorefa_fake_quantize and its backward; contract in edgeqat/dorefa_fake_quantize.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/elementary.h"
#include "cpu/block-inl.h"
#include "cpu/dorefa_fake_quantize.h"
#include "cpu/magnitude-inl.h"
#include "cpu/round-inl.h"

namespace edgeqat::cpu {

EDGEQAT_ALWAYS_INLINE void ZeroPruned(const std::uint8_t* mask, std::int64_t count, float* out) {
  for (std::int64_t j = 0; j < count; ++j) out[j] = mask[j] != 0 ? out[j] : 0.0F;
}

template <typename T>
EDGEQAT_ALWAYS_INLINE void DorefaRange(const DorefaApplyArgs& args, std::int64_t begin,
                                       std::int64_t end) {
  alignas(64) float buffer[kBlock];
  alignas(64) float result[kBlock];
  alignas(64) float divisors[kBlock];
  const DorefaFakeQuantizeArgs& tensors = args.tensors;
  const T* const x = static_cast<const T*>(tensors.x);
  T* const y = static_cast<T*>(tensors.y);
  const auto low = static_cast<float>(tensors.qmin);
  const auto high = static_cast<float>(tensors.qmax);
  const float step = 1.0F / high;
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    ExpandPerScale(tensors.layout, args.divisor, i, count, divisors);
    const float* const values = LoadBlock(x + i, count, buffer);
    float* const out = BlockOutput(y + i, result);
#pragma GCC ivdep  // y is x itself or does not overlap it
    for (std::int64_t j = 0; j < count; ++j) {
      const float t = Tanh(values[j]) / divisors[j];
      out[j] = RoundHalfEven(Clamp(t / step, low, high)) * step;
    }
    if (tensors.mask != nullptr) ZeroPruned(tensors.mask + i, count, out);
    StoreBlock(out, count, y + i);
  }
}

template <typename T>
EDGEQAT_ALWAYS_INLINE void DorefaBackwardRange(const DorefaBackwardApplyArgs& args,
                                               std::int64_t begin, std::int64_t end) {
  alignas(64) float buffer[kBlock];
  alignas(64) float grad_buffer[kBlock];
  alignas(64) float result[kBlock];
  alignas(64) float divisors[kBlock];
  const DorefaFakeQuantizeBackwardArgs& tensors = args.tensors;
  const T* const x = static_cast<const T*>(tensors.x);
  const T* const grad = static_cast<const T*>(tensors.grad);
  T* const grad_x = static_cast<T*>(tensors.grad_x);
  for (std::int64_t i = begin; i < end; i += kBlock) {
    const std::int64_t count = std::min(kBlock, end - i);
    ExpandPerScale(tensors.layout, args.divisor, i, count, divisors);
    const float* const values = LoadBlock(x + i, count, buffer);
    const float* const grads = LoadBlock(grad + i, count, grad_buffer);
    float* const out = BlockOutput(grad_x + i, result);
#pragma GCC ivdep  // grad_x is grad itself or does not overlap it
    for (std::int64_t j = 0; j < count; ++j) {
      out[j] = grads[j] * (TanhDerivative(values[j]) / divisors[j]);
    }
    if (tensors.mask != nullptr) ZeroPruned(tensors.mask + i, count, out);
    StoreBlock(out, count, grad_x + i);
  }
}

EDGEQAT_ALWAYS_INLINE void DorefaFakeQuantizeBody(const DorefaApplyArgs& args, std::int64_t begin,
                                                  std::int64_t end) {
  switch (args.tensors.dtype) {
    case FloatType::kFloat32:
      return DorefaRange<float>(args, begin, end);
    case FloatType::kFloat16:
      return DorefaRange<Float16>(args, begin, end);
    case FloatType::kBFloat16:
      return DorefaRange<BFloat16>(args, begin, end);
  }
}

EDGEQAT_ALWAYS_INLINE void DorefaFakeQuantizeBackwardBody(const DorefaBackwardApplyArgs& args,
                                                          std::int64_t begin, std::int64_t end) {
  switch (args.tensors.dtype) {
    case FloatType::kFloat32:
      return DorefaBackwardRange<float>(args, begin, end);
    case FloatType::kFloat16:
      return DorefaBackwardRange<Float16>(args, begin, end);
    case FloatType::kBFloat16:
      return DorefaBackwardRange<BFloat16>(args, begin, end);
  }
}

}  // namespace edgeqat::cpu
