# SPDX-License-Identifier: Apache-2.0
"""Modules that `prepare` puts into a model; they can also be used by hand."""

from edgeqat.nn.quantizers import ActivationQuantizer, Quantizer, WeightQuantizer

__all__ = ["ActivationQuantizer", "Quantizer", "WeightQuantizer"]
