"""Settings chosen for pictures that nobody described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.table import Table

from jepakit.core import devices
from jepakit.data.sources.procedural_scenes import ProceduralScenes
from jepakit.runs import automatic, recipes
from jepakit.runs.automatic import choose
from jepakit.runs.config import RunConfig
from jepakit.runs.resolve import resolve, resolve_training
from jepakit.runs.yaml_file import check, to_yaml


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))


def pictures(folder: Path, count: int, side: int = 32, grey: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(count):
        shape = (side, side + 4) if grey else (side, side + 4, 3)
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def chosen(folder: Path | None, *words: str) -> RunConfig:
    return resolve(None, words, folder, ["cpu"])[0]


@pytest.mark.parametrize("count", [2, 3, 10, 50])
@pytest.mark.parametrize("side", [9, 28, 100])
def test_few_and_small_pictures(tmp_path: Path, count: int, side: int) -> None:
    config = chosen(pictures(tmp_path / "pets", count, side))
    assert 2 <= config.batch.size <= count
    assert min(config.grid) >= 6
    assert config.objective.regulariser.kind == "vicreg"
    assert config.folder == Path("runs/pets")


def test_one_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds 1 picture: add some"):
        chosen(pictures(tmp_path / "one", 1))


def test_grey_pictures_have_one_channel_everywhere(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for kind in ("a", "b"):
            pictures(tmp_path / part / kind, 3, grey=True)
    config = chosen(tmp_path)
    for source in (config.data.source, config.data.validation):
        assert source is not None
        assert source.kind == "folder"
        assert source.channels == 1
    assert config.data.validation is not None
    assert config.data.validation.split == "val"  # type: ignore[union-attr]


def test_a_test_part_without_the_classes_is_not_used(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        pictures(tmp_path / "train" / kind, 3)
    pictures(tmp_path / "test", 3)
    (tmp_path / "val").mkdir()
    assert chosen(tmp_path).data.validation is None


def test_the_length_that_was_written_decides_on_the_warm_up(tmp_path: Path) -> None:
    config = chosen(pictures(tmp_path, 4), "optimization.epochs=1")
    assert config.optimization.epochs == 1
    assert config.optimization.warmup_epochs == 0.1


def test_without_pictures_scenes_are_taken() -> None:
    config = chosen(None)
    assert config.data.source.kind == "scenes"
    assert config.data.validation is not None


@pytest.mark.parametrize("count", [1_000, 10_000, 200_000, 2_000_000])
@pytest.mark.parametrize("side", [32, 96, 500])
def test_a_gpu_is_given_more_to_do(count: int, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(automatic, "look_at", lambda source: (side, False))
    monkeypatch.setattr(ProceduralScenes, "__len__", lambda self: count)
    content, _ = choose(None, [])
    config = check(RunConfig, content)
    assert config.encoder.size == (None if side < 128 else config.encoder.size)
    assert (config.data.view.size == (224, 224)) == (side >= 128)
    assert (config.objective.regulariser.kind == "none") == (count >= recipes.FEW)
    assert config.batch.size == {1_000: 64, 10_000: 256, 200_000: 512, 2_000_000: 2048}[count]
    assert (config.predictor.width == 384) == (side >= 128 and count >= recipes.FEW)


@pytest.mark.parametrize("side", [32, 47, 48, 500])
def test_on_a_cpu_views_are_smaller_than_what_is_judged(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automatic, "choose_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr(automatic, "look_at", lambda source: (side, False))
    config = check(RunConfig, choose(None, [])[0])
    if side < 48:
        assert config.test_size == config.data.view.size == (side // 8 * 8,) * 2
        assert (config.masking.kind, config.predictor.depth) == ("multiblock", 3)
    else:
        assert (config.data.view.size, config.test_size) == ((48, 48), (64, 64))
        assert (config.masking.kind, config.predictor.depth) == ("random", 1)
        assert config.predictor.width == config.encoder.resolved().width


def test_views_and_masks_that_were_written_stay_alone(tmp_path: Path) -> None:
    words = ["data.view.size=96", "masking.kind=multiblock"]
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (100, 100), (9 * number, 0, 0)).save(folder / f"{number}.png")
    config, _ = resolve_training(None, words, folder, ["cpu"])
    assert config.test_size == config.data.view.size == (96, 96)
    assert config.masking.kind == "multiblock"


@pytest.mark.parametrize(
    ("word", "sizes"),
    [
        ("encoder.patch=16", (48, 64)),
        ("encoder.patch=12", (48, 60)),
        ("encoder.patch=[6, 10]", (90, 90)),
        ("encoder.patch=20", (60, 60)),
    ],
)
def test_views_divide_into_the_patches_that_were_written(
    word: str, sizes: tuple[int, int], tmp_path: Path
) -> None:
    config, _ = resolve_training(None, [word], pictures(tmp_path / "pets", 4, side=100), ["cpu"])
    assert (config.data.view.size[0], config.test_size[0]) == sizes
    with pytest.raises(ValueError, match="patch"):
        resolve_training(None, ["encoder.patch=no"], tmp_path / "pets", ["cpu"])


@pytest.mark.parametrize(
    ("word", "kind"), [("num_targets=2", "multiblock"), ("target_share=0.5", "random")]
)
def test_a_word_about_masks_keeps_the_kind_that_has_it(
    word: str, kind: str, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "pets", 4, side=100)
    config, table = resolve_training(None, [f"masking.{word}"], folder, ["cpu"])
    assert config.masking.kind == kind
    assert isinstance(table, Table)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert [row[1] for row in rows if row[0] == "masking.kind"] == [kind]


@pytest.mark.parametrize("tools", [{"triton", "cc"}, {"triton", "clang"}, {"cc"}, {"triton"}])
def test_blocks_are_compiled_on_a_gpu_that_has_the_tools(
    tools: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(devices, "find_spec", lambda name: name if name in tools else None)
    monkeypatch.setattr(devices.shutil, "which", lambda name: name if name in tools else None)
    assert not check(RunConfig, choose(None, [])[0]).compile
    monkeypatch.setattr(automatic, "choose_device", lambda name: torch.device("cuda"))
    assert check(RunConfig, choose(None, [])[0]).compile == (len(tools) == 2)


def test_every_choice_has_a_reason(tmp_path: Path) -> None:
    _, table = choose(pictures(tmp_path, 4), ["cpu"])
    columns: list[list[Any]] = [list(column.cells) for column in table.columns]
    assert "encoder.width" in columns[0]
    assert all(columns[2])


def test_what_was_written_is_shown_beside_what_was_chosen(tmp_path: Path) -> None:
    words = ["optimization.epochs=3", "batch.size=4"]
    config, table = resolve_training(None, words, pictures(tmp_path / "pets", 8), ["cpu"])
    assert isinstance(table, Table)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert [row for row in rows if row[0] == "optimization.epochs"] == [
        ("optimization.epochs", "3", "as you wrote")
    ]
    assert (config.optimization.epochs, config.batch.size) == (3, 4)


def test_a_run_that_has_begun_keeps_its_settings(tmp_path: Path) -> None:
    folder, run = pictures(tmp_path / "pets", 4), tmp_path / "run"
    words = [f"folder={run}"]
    first, reasons = resolve_training(None, [*words, "seed=5"], folder, ["cpu"])
    assert reasons is not None
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(first))
    pictures(folder, 40)  # more pictures would be given another schedule
    moved = folder.rename(tmp_path / "moved")
    assert isinstance(resolve_training(None, words, moved, ["cpu"])[1], Table)  # nothing learned
    (run / "checkpoints/step-00000001").mkdir(parents=True)
    again, told = resolve_training(None, [*words, "logging.every=3"], moved, ["cpu"])
    goes_on = f"{run} holds a run that has begun, and it goes on with its own settings and those"
    assert str(told).startswith(goes_on)
    end = f"{first.optimization.epochs:g}"
    (run / "metrics.csv").write_text(f"step,epoch,name,value\n{end},{end},loss,0.5\n")
    finished = resolve_training(None, words, moved, ["cpu"])[1]
    assert str(finished).startswith(f"{run} holds a run that is finished, and its own")
    assert again.optimization == first.optimization
    assert again.seed == 5
    assert again.logging.every == 3
    assert again.data.source.path == moved  # type: ignore[union-attr]


def test_pictures_named_beside_a_config_replace_its_own(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pets", 4)
    config = tmp_path / "config.yaml"
    config.write_text(
        "data:\n"
        "  source: {kind: scenes, num_pictures: 9}\n"
        "  validation: {kind: scenes, first: 9}\n"
        "  view: {flip: 0.5}\n"
        "optimization: {epochs: 2, warmup_epochs: 1}\n"
    )
    resolved, _ = resolve(config, [], folder, [])
    assert resolved.data.source.path == folder  # type: ignore[union-attr]
    assert resolved.data.validation is None
    assert resolved.data.view.flip == 0.5


def test_words_about_the_source_hold_while_settings_are_chosen(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / "bands" / part).mkdir(parents=True)
        for number in range(20):
            bands = np.full((40, 40, 12), number, np.uint16)
            np.save(tmp_path / "bands" / part / f"{number}.npy", bands)
    words = ("data.source.channels=12", "data.source.values=[0,20]")
    source = chosen(tmp_path / "bands", *words).data.source
    assert (source.kind, source.channels, source.values) == ("folder", 12, (0, 20))
    held_out = chosen(tmp_path / "bands", *words).data.validation
    assert (held_out.channels, held_out.values, held_out.split) == (12, (0, 20), "val")


@pytest.mark.parametrize("kind", ["png", "tif", "npy"])
def test_values_of_more_than_8_bits_are_chosen_for_every_kind_of_file(
    kind: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "deep").mkdir()
    for number in range(20):
        picture, path = random.integers(0, 4000, (40, 40)), tmp_path / "deep" / f"{number}.{kind}"
        if kind == "npy":
            np.save(path, picture.astype(np.uint16))
        else:
            Image.fromarray(picture.astype(np.uint16)).save(path)
    source = chosen(tmp_path / "deep").data.source
    assert (source.kind, source.channels, source.values) == ("folder", 1, (0, 4000))
