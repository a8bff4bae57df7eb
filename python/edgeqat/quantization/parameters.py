# SPDX-License-Identifier: Apache-2.0
"""parameter_groups: weights, norms and quantizer parameters for an optimizer, each with the decay it should have."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgeqat.nn.learned import LearnedActivationQuantizer
from edgeqat.nn.quantizers import Quantizer


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float = 0.0,
    step_lr: float | None = None,
    step_weight_decay: float = 0.0,
    decay_norms_and_biases: bool = False,
) -> list[dict[str, Any]]:
    """Parameter groups for any torch optimizer: weights, norms and biases, steps and offsets of learned quantizers.

    Weight decay on a step size shrinks it against the loss, so steps have none unless it is asked for; PACT's clipping
    value alone wants some, and gets `weight_decay`, as in its paper.

    Args:
        model: any module; without learned quantizers the last groups are missing.
        lr: learning rate of the model's own parameters.
        weight_decay: of weights with two or more dimensions.
        step_lr: learning rate of steps and offsets; `lr` if None.
        step_weight_decay: of steps and offsets.
        decay_norms_and_biases: apply `weight_decay` to vectors too.

    Returns:
        Groups with the keys params, lr, weight_decay and name; empty ones are left out.

    Example:
        >>> import edgeqat, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> recipe = edgeqat.Recipe(weight_quantizer="lsq", activation_quantizer="lsq")
        >>> student = edgeqat.prepare(model, recipe, torch.randn(2, 4))
        >>> groups = parameter_groups(student, lr=0.1, weight_decay=1e-4, step_lr=0.01)
        >>> [(group["name"], len(group["params"]), group["lr"]) for group in groups]
        [('weights', 2, 0.1), ('norms and biases', 2, 0.1), ('steps', 4, 0.01)]
        >>> optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    """
    steps: dict[int, nn.Parameter] = {}
    clips: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if isinstance(module, Quantizer):
            pact = isinstance(module, LearnedActivationQuantizer) and module.wanted_rule == "pact"
            for parameter in module.parameters(recurse=False):
                (clips if pact else steps)[id(parameter)] = parameter
    own = [p for p in model.parameters() if p.requires_grad and id(p) not in {**steps, **clips}]
    matrices = [p for p in own if decay_norms_and_biases or p.dim() > 1]
    vectors = [p for p in own if not decay_norms_and_biases and p.dim() <= 1]
    rate = lr if step_lr is None else step_lr
    groups: list[dict[str, Any]] = [
        {"name": "weights", "params": matrices, "lr": lr, "weight_decay": weight_decay},
        {"name": "norms and biases", "params": vectors, "lr": lr, "weight_decay": 0.0},
        {
            "name": "steps",
            "params": list(steps.values()),
            "lr": rate,
            "weight_decay": step_weight_decay,
        },
        {
            "name": "clipping values",
            "params": list(clips.values()),
            "lr": rate,
            "weight_decay": weight_decay,
        },
    ]
    return [group for group in groups if group["params"]]
