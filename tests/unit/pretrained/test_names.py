"""What a word on the command line is: the name of a model, or a setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from jepakit.pretrained.names import names_and_settings, refuse_what_is_not_there


def test_words_are_names_or_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=1").mkdir()
    words = ["runs/a", "num_train=9", "lr=1", "knn.k=3", "Runs=b", "timm:vit"]
    assert names_and_settings(words) == (
        ["runs/a", "lr=1", "Runs=b", "timm:vit"],
        ["num_train=9", "knn.k=3"],
    )


@pytest.mark.parametrize("name", ["hf:a/b", "timm:vit", "meta:a@vit_tiny", "runs/checkpoints/7"])
def test_what_is_not_on_this_disk_is_left_to_who_opens_it(name: str) -> None:
    assert refuse_what_is_not_there(name) == name


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert refuse_what_is_not_there(str(tmp_path / "run")) == str(tmp_path / "run")
    with pytest.raises(ValueError, match=r"there is no .*/gone: give a run folder"):
        refuse_what_is_not_there(str(tmp_path / "gone"))
    with pytest.raises(ValueError, match=r"\(did you mean hf:org/name\?\)"):
        refuse_what_is_not_there("org/name")
