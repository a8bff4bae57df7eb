// SPDX-License-Identifier: Apache-2.0
// Scalar oracles of fake_quantize, quantize and dequantize: one element at a time, one idea per
// line.
#pragma once

#include "edgeqat/fake_quantize.h"
#include "edgeqat/quantize.h"

namespace edgeqat::reference {

void fake_quantize_ref(const FakeQuantizeArgs& args);
void fake_quantize_backward_ref(const FakeQuantizeBackwardArgs& args);
void quantize_ref(const QuantizeArgs& args);
void dequantize_ref(const DequantizeArgs& args);

}  // namespace edgeqat::reference
