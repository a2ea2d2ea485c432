"""`jepa bench features` takes both in turns and tells the share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.commands import bench_features as bench
from jepakit.models import Encoder


def test_both_speeds_and_their_ratio_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        pixels = np.full((40, 40, 3), 60 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(bench, "SIZE", (32, 32))
    small = Encoder.Settings(size=None, width=32, depth=4, num_heads=1, patch=8)
    monkeypatch.setattr(bench, "check", lambda model, content: small)
    assert bench.bench_features(str(tmp_path), "any", 3, 2) == 0
    told = capsys.readouterr().out
    assert "the forward pass alone" in told
    assert "% of it" in told
