# SPDX-License-Identifier: Apache-2.0
"""Proof that an exported file computes what was trained."""

from __future__ import annotations

from edgeqat.verification.report import (
    Latency,
    OutputAgreement,
    TensorAgreement,
    Thresholds,
    VerifyReport,
)
from edgeqat.verification.verify import verify

__all__ = ["Latency", "OutputAgreement", "TensorAgreement", "Thresholds", "VerifyReport", "verify"]
