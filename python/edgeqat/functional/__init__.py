# SPDX-License-Identifier: Apache-2.0
"""Every op of edgeqat as a typed function, in data-flow order: observe, choose, quantize, pack.

Quantization parameters come in three granularities, told by `axis` and `group_size`:

| granularity | axis | group_size | shape of scale (float32) and zero_point (int32) |
|---|---|---|---|
| per tensor  | None | None | one element (or Python numbers) |
| per channel | k    | None | `[x.size(k)]` |
| per group   | k    | g    | `x.shape` with dimension k replaced by `x.size(k) / g` |

A negative axis counts from the end. Data may be float32, bfloat16 or float16 in any memory layout;
arithmetic is float32; float64 is refused. Results are the same for every number of threads and for
every instruction set.
"""

from __future__ import annotations

from edgeqat.functional._codes import dequantize, pack, quantize, unpack
from edgeqat.functional._fake_quantize import (
    fake_quantize,
    fake_quantize_backward,
    fake_quantize_train,
)
from edgeqat.functional._lsq import (
    learned_step,
    lsq_fake_quantize,
    lsq_fake_quantize_backward,
    lsq_fake_quantize_compact_backward,
    lsq_fake_quantize_multi,
    lsq_fake_quantize_multi_backward,
    lsq_fake_quantize_train,
)
from edgeqat.functional._observe import choose_qparams, observe_minmax_
from edgeqat.functional._observe_fake_quantize import observe_fake_quantize_
from edgeqat.functional._oscillation import oscillation_update_
from edgeqat.functional._per_token import per_token_fake_quantize
from edgeqat.functional._weights import (
    dorefa_fake_quantize,
    dorefa_fake_quantize_backward,
    ternary_fake_quantize,
)

__all__ = [
    "choose_qparams",
    "dequantize",
    "dorefa_fake_quantize",
    "dorefa_fake_quantize_backward",
    "fake_quantize",
    "fake_quantize_backward",
    "fake_quantize_train",
    "learned_step",
    "lsq_fake_quantize",
    "lsq_fake_quantize_backward",
    "lsq_fake_quantize_compact_backward",
    "lsq_fake_quantize_multi",
    "lsq_fake_quantize_multi_backward",
    "lsq_fake_quantize_train",
    "observe_fake_quantize_",
    "observe_minmax_",
    "oscillation_update_",
    "pack",
    "per_token_fake_quantize",
    "quantize",
    "ternary_fake_quantize",
    "unpack",
]
