# SPDX-License-Identifier: Apache-2.0
"""torchao's export-based QAT: the only one of its flows that quantizes convolutions; 8 bits, moving-average ranges."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def quantize(model: nn.Module, example: Tensor) -> nn.Module:
    """`model` captured and prepared for QAT by torchao with the x86 quantizer (its widths are fixed at 8)."""
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    exported = torch.export.export(copy.deepcopy(model).train(), (example,)).module()
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config(is_qat=True))
    return prepare_qat_pt2e(exported, quantizer)
