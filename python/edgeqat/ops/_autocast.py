# SPDX-License-Identifier: Apache-2.0
"""Autocast policy of every op: none of them casts anything.

fake_quantize keeps its input's dtype (bfloat16 in, bfloat16 out), because promoting to float32
would double the memory of every activation behind it; scales stay float32, because a bfloat16 scale
(8 bits of precision) would move codes: 127 * 2**-9 is a quarter of a step at the end of the range.
"""

from __future__ import annotations

from torch.library import Library, fallthrough_kernel

#: Policy by op in data-flow order. "keep": run on the dtypes as given.
POLICY: dict[str, str] = {
    "observe_minmax_": "keep",
    "choose_qparams": "keep",
    "fake_quantize": "keep",
    "fake_quantize_train": "keep",
    "fake_quantize_backward": "keep",
    "observe_fake_quantize_": "keep",
    "learned_step": "keep",
    "lsq_fake_quantize": "keep",
    "lsq_fake_quantize_train": "keep",
    "lsq_fake_quantize_backward": "keep",
    "lsq_fake_quantize_compact_backward": "keep",
    "lsq_fake_quantize_multi": "keep",
    "lsq_fake_quantize_multi_backward": "keep",
    "ternary_fake_quantize": "keep",
    "dorefa_fake_quantize": "keep",
    "dorefa_fake_quantize_backward": "keep",
    "per_token_fake_quantize": "keep",
    "oscillation_update_": "keep",
    "quantize": "keep",
    "dequantize": "keep",
    "pack": "keep",
    "unpack": "keep",
}

_library = Library("edgeqat", "IMPL")
for _name in POLICY:
    for _key in ("AutocastCPU", "AutocastCUDA"):
        _library.impl(_name, fallthrough_kernel, _key)
