// SPDX-License-Identifier: Apache-2.0
// Declares the entry of every kernel for every instruction set; isa_table.cpp puts them into the
// table.
#pragma once

#include <cstdint>

#include "cpu/isa_table.h"

namespace edgeqat::cpu {

using I64 = std::int64_t;

void fake_quantize_baseline(const FakeQuantizeArgs& args, I64 begin, I64 end);
void fake_quantize_backward_baseline(const FakeQuantizeBackwardArgs& args, I64 begin, I64 end);
void quantize_baseline(const QuantizeArgs& args, I64 begin, I64 end);
void dequantize_baseline(const DequantizeArgs& args, I64 begin, I64 end);
I64 observe_minmax_baseline(const ObserveMinmaxArgs& args, I64 begin, I64 end,
                            std::int32_t* min_keys, std::int32_t* max_keys);
void oscillation_update_baseline(const OscillationUpdateArgs& args, I64 begin, I64 end);
void reduce_magnitudes_baseline(const MagnitudeArgs& args, I64 begin, I64 end,
                                MagnitudeSums* units);
void ternary_fake_quantize_baseline(const TernaryApplyArgs& args, I64 begin, I64 end);
void dorefa_fake_quantize_baseline(const DorefaApplyArgs& args, I64 begin, I64 end);
void dorefa_fake_quantize_backward_baseline(const DorefaBackwardApplyArgs& args, I64 begin,
                                            I64 end);
void per_token_fake_quantize_baseline(const PerTokenFakeQuantizeArgs& args, I64 begin, I64 end);
void lsq_train_baseline(const LsqTrainArgs& args, I64 begin, I64 end);
void lsq_backward_baseline(const LsqBackwardArgs& args, I64 begin, I64 end, double* step_sums,
                           double* offset_sums);
void lsq_compact_backward_baseline(const LsqBackwardArgs& args, I64 begin, I64 end,
                                   double* step_sums, double* offset_sums);

I64 observe_fake_quantize_baseline(const FakeQuantizeArgs& args, I64 begin, I64 end,
                                   std::int32_t* min_keys, std::int32_t* max_keys);

#if EDGEQAT_X86
I64 observe_fake_quantize_v3(const FakeQuantizeArgs& args, I64 begin, I64 end,
                             std::int32_t* min_keys, std::int32_t* max_keys);
I64 observe_fake_quantize_v4(const FakeQuantizeArgs& args, I64 begin, I64 end,
                             std::int32_t* min_keys, std::int32_t* max_keys);
void fake_quantize_v3(const FakeQuantizeArgs& args, I64 begin, I64 end);
void fake_quantize_v4(const FakeQuantizeArgs& args, I64 begin, I64 end);
void fake_quantize_backward_v3(const FakeQuantizeBackwardArgs& args, I64 begin, I64 end);
void fake_quantize_backward_v4(const FakeQuantizeBackwardArgs& args, I64 begin, I64 end);
void quantize_v3(const QuantizeArgs& args, I64 begin, I64 end);
void quantize_v4(const QuantizeArgs& args, I64 begin, I64 end);
void dequantize_v3(const DequantizeArgs& args, I64 begin, I64 end);
void dequantize_v4(const DequantizeArgs& args, I64 begin, I64 end);
I64 observe_minmax_v3(const ObserveMinmaxArgs& args, I64 begin, I64 end, std::int32_t* min_keys,
                      std::int32_t* max_keys);
I64 observe_minmax_v4(const ObserveMinmaxArgs& args, I64 begin, I64 end, std::int32_t* min_keys,
                      std::int32_t* max_keys);
void oscillation_update_v3(const OscillationUpdateArgs& args, I64 begin, I64 end);
void oscillation_update_v4(const OscillationUpdateArgs& args, I64 begin, I64 end);
void reduce_magnitudes_v3(const MagnitudeArgs& args, I64 begin, I64 end, MagnitudeSums* units);
void ternary_fake_quantize_v3(const TernaryApplyArgs& args, I64 begin, I64 end);
void dorefa_fake_quantize_v3(const DorefaApplyArgs& args, I64 begin, I64 end);
void dorefa_fake_quantize_backward_v3(const DorefaBackwardApplyArgs& args, I64 begin, I64 end);
void per_token_fake_quantize_v3(const PerTokenFakeQuantizeArgs& args, I64 begin, I64 end);
void reduce_magnitudes_v4(const MagnitudeArgs& args, I64 begin, I64 end, MagnitudeSums* units);
void ternary_fake_quantize_v4(const TernaryApplyArgs& args, I64 begin, I64 end);
void dorefa_fake_quantize_v4(const DorefaApplyArgs& args, I64 begin, I64 end);
void dorefa_fake_quantize_backward_v4(const DorefaBackwardApplyArgs& args, I64 begin, I64 end);
void per_token_fake_quantize_v4(const PerTokenFakeQuantizeArgs& args, I64 begin, I64 end);
void lsq_train_v3(const LsqTrainArgs& args, I64 begin, I64 end);
void lsq_train_v4(const LsqTrainArgs& args, I64 begin, I64 end);
void lsq_backward_v3(const LsqBackwardArgs& args, I64 begin, I64 end, double* step_sums,
                     double* offset_sums);
void lsq_backward_v4(const LsqBackwardArgs& args, I64 begin, I64 end, double* step_sums,
                     double* offset_sums);
void lsq_compact_backward_v3(const LsqBackwardArgs& args, I64 begin, I64 end, double* step_sums,
                             double* offset_sums);
void lsq_compact_backward_v4(const LsqBackwardArgs& args, I64 begin, I64 end, double* step_sums,
                             double* offset_sums);
#endif

}  // namespace edgeqat::cpu
