# SPDX-License-Identifier: Apache-2.0
"""Turns a batch, as a model takes it, into the input arrays of an exported file."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgeqat.graph import arguments

Array = np.ndarray[Any, Any]


def tensors(model: nn.Module, batch: Any) -> list[Tensor]:
    """The tensors of `batch` in the order of the graph's inputs.

    Args:
        model: a prepared or converted model.
        batch: a tensor, a tuple (positional arguments) or a dict (keyword arguments).

    Raises:
        TypeError: the batch does not fit the arguments of the model.
    """
    bound = arguments.bind(model, batch, None)
    return [leaf for leaf in pytree.tree_leaves(dict(bound.arguments)) if isinstance(leaf, Tensor)]


def arrays(names: list[str], values: list[Tensor]) -> dict[str, Array]:
    """Input name -> array.

    Raises:
        ValueError: the file has another number of inputs.
    """
    if len(names) != len(values):
        raise ValueError(
            f"verify: the file has {len(names)} inputs ({', '.join(names)}), the batch holds {len(values)} tensors; give "
            "batches of the model's inputs only, without labels"
        )
    return {
        name: value.detach().cpu().contiguous().numpy()
        for name, value in zip(names, values, strict=True)
    }


def flat_outputs(result: Any) -> list[Array]:
    """The tensors in what a model returned, as float32 or integer arrays."""
    leaves = [
        leaf.detach().cpu() for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)
    ]
    return [
        (leaf.float() if leaf.dtype in (torch.bfloat16, torch.float16) else leaf).numpy()
        for leaf in leaves
    ]
