# SPDX-License-Identifier: Apache-2.0
"""Target: what a runtime can execute, as data."""

from __future__ import annotations

from dataclasses import dataclass

from edgeqat.graph.operators import COMPUTE, PASS_THROUGH, WEIGHTED


@dataclass(frozen=True)
class Target:
    """What a runtime or chip executes on integers.

    Args:
        name: how recipes and `plan(target=...)` call it.
        weight_bits: widths of weights it stores.
        activation_bits: widths of activations it computes with.
        granularities: weight granularities it accepts.
        shared_scale_operators: operators whose inputs and output must have one scale.
        float_operators: operators it runs in float, with the reason that the report shows.
        requantization: the rounding rule of its integer kernels (docs/numerics.md).

    Example:
        >>> import torch, edgeqat
        >>> chip = Target("chip", weight_bits=(8,), float_operators=frozenset({"gelu"}))
        >>> chip.supports("conv"), chip.supports("gelu")
        (True, False)
    """

    name: str
    weight_bits: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    activation_bits: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
    granularities: tuple[str, ...] = ("tensor", "channel", "group")
    shared_scale_operators: frozenset[str] = frozenset()
    float_operators: frozenset[str] = frozenset()
    requantization: str = "f32_even"

    def supports(self, operator: str) -> bool:
        """Whether `operator` (a name of `edgeqat.graph.operators`) runs on integers."""
        return operator not in self.float_operators


# Concatenation and average pooling without a common scale cost a requantization of every input, which ONNX Runtime
# does exactly (measured: 0 of 16,384 outputs differ) and static int8 NPUs cannot do at all.
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("onnxruntime"),
        Target(
            "npu_int8",
            weight_bits=(8,),
            activation_bits=(8,),
            granularities=("tensor", "channel"),
            shared_scale_operators=frozenset({"cat", "avg_pool", "max_pool"}),
            float_operators=frozenset({"embedding", "layer_norm", "gelu", "silu", "matmul"}),
        ),
    )
}


def find_target(name: str | Target) -> Target:
    """The target called `name`.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if isinstance(name, Target):
        return name
    if name not in TARGETS:
        raise ValueError(
            f"plan: unknown target {name!r}; known targets: {', '.join(sorted(TARGETS))}"
        )
    unknown = TARGETS[name].float_operators - {*COMPUTE, *WEIGHTED, *PASS_THROUGH}
    assert not unknown, unknown
    return TARGETS[name]
