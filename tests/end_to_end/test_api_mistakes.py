"""What is typed wrongly in Python gets one sentence, as on the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import jepakit
from jepakit.commands.export import check_replaceable
from jepakit.pretrained.meta import write_meta

# In a process of its own: there, types are not checked before our words are said.
ASK = """
import json, sys
import numpy as np, jepakit
run, calls = sys.argv[1], json.loads(sys.argv[2])
model = jepakit.load(run, device="cpu")
picture = np.zeros((32, 32, 3), np.uint8)
for call in calls:
    try:
        eval(call)
        print(json.dumps("accepted"))
    except ValueError as error:
        print(json.dumps(str(error)))
"""
CALLS = {
    "jepakit.load(run, branch='Target')": "did you mean target?",
    "jepakit.load(run, precision='fp16')": "did you mean",
    "jepakit.load('')": "the name of a model is empty",
    "model.predict(picture, target=(8, 8, 16, 16), distance='cos')": "distance='cos' is unknown",
    "model.features(picture, layers='last')": "layers='last' is no whole number",
    "model.features(picture, layers=(1.5,))": "is no whole number",
    "model.tokens(picture, layer=(0, 1))": "is no whole number",
    "model.features(picture, layers=-1)": "accepted",
    "model.features(picture, out='jax')": "out='jax' is unknown",
    "model.features(picture, batch_size=2.5)": "batch_size=2.5 must be a whole number",
    "model.features(picture, size='128')": "size='128' is no size",
    "model.features(picture, size=64.0)": "size=64.0 is no size",
}


@pytest.fixture(scope="module")
def answers(finished: Path) -> dict[str, str]:
    words = [sys.executable, "-c", ASK, str(finished), json.dumps(list(CALLS))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(CALLS, said, strict=True))


@pytest.mark.parametrize("call", CALLS)
def test_a_mistake_is_one_sentence(call: str, answers: dict[str, str]) -> None:
    assert CALLS[call] in answers[call]


def test_arrays_of_paths_are_paths(finished: Path, tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((32, 32, 3), 80 * number, np.uint8)).save(paths[-1])
    model = jepakit.load(finished, device="cpu")
    expected = model.features(paths)
    for array in (np.array([str(p) for p in paths]), np.array(paths, dtype=object)):
        np.testing.assert_array_equal(model.features(array), expected)
        np.testing.assert_array_equal(model.features(array[:, None]), expected)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"hello", "is damaged"), (b"", "is damaged"), (b"\x80\x02]q\x00(K\x01e", "is damaged")],
)
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "text.pth.tar").write_bytes(content)
    with pytest.raises(ValueError, match=told):
        jepakit.load(tmp_path / "text.pth.tar")


def test_weights_that_are_not_finite(finished: Path, tmp_path: Path) -> None:
    weights = jepakit.load(finished, device="cpu").loaded.weights()
    for tensor in weights.networks["target_encoder"].values():
        tensor[:] = float("nan")
    write_meta(weights, tmp_path / "nan.pth.tar")
    with pytest.raises(ValueError, match=r"nan.pth.tar holds weights that are not finite"):
        jepakit.load(tmp_path / "nan.pth.tar")


def test_a_file_is_described_by_a_config_anywhere(finished: Path, tmp_path: Path) -> None:
    """Also by one of ours, and where the width is unusual."""
    ours = jepakit.load(finished, device="cpu")
    weights = ours.loaded.weights()
    write_meta(weights, tmp_path / "plain.pth.tar")
    content = torch.load(tmp_path / "plain.pth.tar", weights_only=True)
    content.pop("jepakit")  # what told the heads
    torch.save(content, tmp_path / "plain.pth.tar")
    with pytest.raises(ValueError, match="number of attention heads"):
        jepakit.load(tmp_path / "plain.pth.tar")
    described = f"{tmp_path / 'plain.pth.tar'}@{finished / 'config.yaml'}"
    theirs = jepakit.load(described, device="cpu")
    expected = weights.networks["target_encoder"]
    for name, tensor in theirs.encoder.state_dict().items():
        assert torch.equal(tensor, expected[name])
    with pytest.raises(ValueError, match=r"there is no checkpoint .*missing.pth.tar"):
        jepakit.load(f"{tmp_path / 'missing.pth.tar'}@{finished / 'config.yaml'}")


def test_an_export_replaces_nothing_but_an_export(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep.txt").write_text("kept")
    check_replaceable(str(run), tmp_path / "new")
    for out, told in (
        (run, "is part of, what is exported"),
        (tmp_path, "is part of, what is exported"),
        (run / "checkpoints", "is part of, what is exported"),
        (tmp_path / "mine", "no export wrote"),
    ):
        with pytest.raises(ValueError, match=told):
            check_replaceable(str(run), out)
    (tmp_path / "mine" / "jepakit.json").write_text("{}")
    check_replaceable(str(run), tmp_path / "mine")
