# SPDX-License-Identifier: Apache-2.0
"""Modules that `prepare` puts into a model; they can also be used by hand."""

from edgeqat.nn.learned import LearnedActivationQuantizer, LearnedWeightQuantizer
from edgeqat.nn.quantizers import ActivationQuantizer, Quantizer, WeightQuantizer
from edgeqat.nn.weight_rules import DorefaWeightQuantizer, TernaryWeightQuantizer

__all__ = [
    "ActivationQuantizer",
    "DorefaWeightQuantizer",
    "LearnedActivationQuantizer",
    "LearnedWeightQuantizer",
    "Quantizer",
    "TernaryWeightQuantizer",
    "WeightQuantizer",
]
