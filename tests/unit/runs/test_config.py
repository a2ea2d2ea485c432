"""One run completely described, and what may change when it is continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jepakit.runs.config import FREE_TO_CHANGE, FREE_TO_CONTINUE, RunConfig, differences
from jepakit.runs.yaml_file import apply_overrides, check


def config(*words: str) -> RunConfig:
    return check(RunConfig, apply_overrides({}, words))


def test_a_view_must_divide_into_patches() -> None:
    with pytest.raises(ValueError, match=r"set data\.view\.size=\[64,48\]"):
        config("data.view.size=[66,50]", "encoder.patch=16")
    assert config("data.view.size=[64,48]", "encoder.patch=16").grid == (4, 3)


def test_the_size_of_the_test_is_that_of_the_views_unless_it_is_said() -> None:
    assert config("data.view.size=[64,48]").test_size == (64, 48)
    larger = config("data.view.size=[64,48]", "data.test_size=96")
    assert larger.test_size == (96, 96)
    assert larger.grid == (4, 3)
    with pytest.raises(ValueError, match=r"set data\.test_size=\[96,96\]"):
        config("data.view.size=64", "data.test_size=100")


def test_a_warm_up_must_end() -> None:
    with pytest.raises(ValueError, match=r"at most optimization\.epochs=2"):
        config("optimization.epochs=2")


@pytest.mark.parametrize(
    ("devices", "expected"),
    [("cpu", ("cpu",)), (0, ("0",)), ([0, 1], ("0", "1")), (["cpu", "cpu"], ("cpu", "cpu"))],
)
def test_devices_are_names(devices: Any, expected: tuple[str, ...]) -> None:
    assert check(RunConfig, {"devices": devices}).devices == expected


def test_no_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="devices="):
        check(RunConfig, {"devices": []})


def test_a_tilde_is_the_home_folder() -> None:
    assert config("folder=~/x").folder == Path.home() / "x"


def test_differences_are_named_by_setting() -> None:
    found = differences(config(), config("seed=3", "masking.kind=random", "data.view.flip=0.5"))
    assert "seed: 0 -> 3" in found
    assert "data.view.flip: 0.0 -> 0.5" in found
    assert "masking.kind: multiblock -> random" in found
    assert any(line.startswith("masking.num_targets: 4 -> ") for line in found)


@pytest.mark.parametrize(
    "word",
    [
        *("folder=x", "devices=[cpu,cpu]", "batch.device=4", "data.num_workers=3"),
        *("logging.every=3", "monitors.collapse.every=3", "checkpoint.every_steps=3"),
        *("data.allow_changed=true", "data.validation.kind=scenes", "data.max_broken_share=0.5"),
        "data.test_size=256",
    ],
)
def test_what_is_free_to_change(word: str) -> None:
    assert config() != config(word)
    assert differences(config(), config(word)) == []


@pytest.mark.parametrize("word", ["compile=true", "encoder.checkpointing=true"])
def test_what_is_free_only_when_a_run_goes_on(word: str) -> None:
    assert differences(config(), config(word)) != []
    assert differences(config(), config(word), FREE_TO_CONTINUE) == []


def test_pictures_may_move() -> None:
    here, there = (config("data.source.kind=folder", f"data.source.path={p}") for p in "ab")
    assert differences(here, there, FREE_TO_CONTINUE) == []


def test_pictures_of_a_mixture_may_move_but_not_change() -> None:
    def mixture(path: str, weight: float) -> RunConfig:
        parts = f"[{{source: {{kind: folder, path: {path}}}, weight: {weight}}}]"
        return config("data.source.kind=mixed", f"data.source.sources={parts}")

    assert differences(mixture("a", 1), mixture("b", 1), FREE_TO_CONTINUE) == []
    changed = differences(mixture("a", 1), mixture("b", 2), FREE_TO_CONTINUE)
    assert changed == ["data.source.sources[0].weight: 1.0 -> 2.0"]


@pytest.mark.parametrize("name", FREE_TO_CONTINUE)
def test_every_free_setting_exists(name: str) -> None:
    words = ["data.source.kind=folder", "data.source.path=x"]
    if name in ("data.source.root", "data.source.download"):
        words = ["data.source.kind=torchvision", "data.source.name=CIFAR10"]
    if name in ("data.source.cache", "data.source.retries", "data.source.timeout"):
        words = ["data.source.kind=shards", "data.source.path=x.tar"]
    content = config(*words).model_dump(mode="json")
    for part in name.split("."):
        content = content[part]
    assert set(FREE_TO_CHANGE) < set(FREE_TO_CONTINUE)
