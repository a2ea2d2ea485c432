"""`jepa plan` and `jepa bench scaling`, as a user types them."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from jepakit.cli import main

HUGE = str(Path(__file__).parents[2] / "configs" / "in1k_vith14_ep300.yaml")
SCENES = str(Path(__file__).parents[2] / "configs" / "tiny" / "scenes.yaml")


def typed(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *words])
    return int(ended.value.code or 0)


def test_the_official_recipe_beside_the_published_hours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert typed(HUGE, "--gpus", "16xA100-80G", "--price", "2", "--share", "0.19") == 0
    shown = capsys.readouterr().out
    for words in ("2048, 128 per GPU", "187,500 steps", "activations", "FSDP2", "cost"):
        assert words in shown
    assert "published: 1,152" in shown


def test_mistakes_say_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(HUGE, "--gpus", "8xA100") == 2
    assert "did you mean A100-40G or A100-80G" in capsys.readouterr().err
    assert typed(HUGE, "--out", "somewhere") == 2
    assert "add --failures" in capsys.readouterr().err
    giant = ("encoder.size=vit_gigantic", "precision=fp32")
    assert typed(HUGE, *giant, "--gpus", "2xT4") == 3
    assert "take more or larger GPUs" in capsys.readouterr().err


def test_failures_leave_a_table_and_a_figure(tmp_path: Path) -> None:
    assert (
        typed(SCENES, "batch.size=64", "--gpus", "8xL40S", "--failures", "--out", str(tmp_path))
        == 0
    )
    content = json.loads((tmp_path / "failures.json").read_text())
    counts = [one["conditions"]["num_gpus"] for one in content["outcomes"]]
    assert counts == [8, 16, 32, 64] * 2  # those that divide the batch
    drawing = ET.parse(tmp_path / "failures.svg").getroot()
    assert sum(part.tag.endswith("circle") for part in drawing.iter()) == 4


@pytest.mark.skipif(os.name != "posix", reason="starts processes over gloo")
@pytest.mark.slow
def test_one_process_and_two_are_measured_in_turns(tmp_path: Path) -> None:
    sizes = ["encoder.size=null", "encoder.width=16", "encoder.depth=1", "encoder.num_heads=2"]
    sizes += ["data.view.size=[16,16]", "encoder.patch=4", "predictor.width=8", "batch.size=4"]
    out = tmp_path / "scaling.json"
    words = ["--rounds", "1", "--steps", "1", "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "scaling", *sizes, "predictor.depth=1", "precision=fp32", *words])
    assert not ended.value.code
    speeds = json.loads(out.read_text())["images_per_second"]
    assert len(speeds) == 3
    assert all(len(found) == 1 and found[0] > 0 for found in speeds.values())
