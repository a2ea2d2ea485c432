"""The README's tree of files is the tree that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


@pytest.mark.skipif(
    not README.exists() or "<!-- tree -->" not in README.read_text(encoding="utf-8"),
    reason="the README has no tree",
)
def test_the_readmes_tree_is_up_to_date() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = [sys.executable, str(ROOT / "scripts" / "readme_tree.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout
