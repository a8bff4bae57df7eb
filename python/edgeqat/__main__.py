# SPDX-License-Identifier: Apache-2.0
"""`python -m edgeqat` and the command `edgeqat`."""

from __future__ import annotations

import sys

from edgeqat.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
