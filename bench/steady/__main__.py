"""Run the harness of this checkout: python bench/steady."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# In place of this folder. Not by PYTHONPATH, which COMMAND would inherit.
sys.path[:1] = [str(ROOT / "bench"), str(ROOT / ".cache/collections")]

from steady.cli import main  # noqa: E402 - found by the line before

if __name__ == "__main__":
    sys.exit(main())
