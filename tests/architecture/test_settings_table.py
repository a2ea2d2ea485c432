"""The guide's tables of settings are those of the code."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "settings_table.py"))


def test_the_guide_shows_the_settings_of_the_code(script: dict[str, Any]) -> None:
    text = script["GUIDE"].read_text(encoding="utf-8")
    advice = "run `python scripts/settings_table.py` and commit docs/guides/settings.md"
    assert script["renewed"](text) == text, advice


@pytest.mark.parametrize(
    "line",
    [
        "| `optimization.lr` | number > 0 | `0.001` | peak learning rate |",
        "| `data.source.kind` | `folder`, `scenes`, `clevr`, `table`, `shards`, `arrays`, ",
        "| `data.source.path` | path | must be given | ",
        "| `data.validation` | `folder`, `scenes`, `clevr`, `table`, `shards`, `arrays`, ",
        "| `objective.ema` | 2 of: number | `[0.996,1]` | ",
        "| `encoder.patch` | whole number or 2 of: whole number | `16` | ",
        "| `masking.target_scale` | 2 of: number > 0, ≤ 1 | `[0.15,0.2]` | ",
        "| `batch.device` | whole number ≥ 1 or `auto` | `auto` | ",
        "| `reference_outputs` | null, a group (below) | `null` | ",
    ],
)
def test_tables_hold_every_form_of_setting(script: dict[str, Any], line: str) -> None:
    assert line in script["all_tables"]()


def test_every_table_says_what_its_group_is_for(script: dict[str, Any]) -> None:
    headings = [s.split("\n")[:3] for s in script["all_tables"]().split("\n## ")]
    assert len(headings) > 20
    assert all(len(lines) == 3 and lines[2].endswith(".") for lines in headings)
