"""The examples in docstrings run, in a folder that holds a run and pictures."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

import jepakit
import jepakit.api
import jepakit.sklearn
from jepakit.runs import model


@pytest.mark.parametrize("module", [jepakit.api, jepakit.sklearn, model], ids=lambda m: m.__name__)
def test_examples_show_what_they_say(
    module: object, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    given = {"np": np, "jepakit": jepakit, "model": jepakit.load("runs/my-run", device="cpu")}
    found = doctest.testmod(module, extraglobs=given, report=True)  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0
