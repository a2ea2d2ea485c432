"""How long the demo's pretraining is, on machines of different speed."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from rich.console import Console

from jepakit.commands import demo
from jepakit.runs.config import RunConfig
from jepakit.runs.evaluation_settings import EvaluationSettings
from jepakit.runs.yaml_file import apply_overrides, check, read_yaml, to_yaml


def recipe(folder: Path, *words: str) -> RunConfig:
    content = read_yaml(Path(str(files("jepakit") / "runs" / "demo.yaml")))
    return check(RunConfig, apply_overrides(content, [f"folder={folder}", *words]))


def epochs_on(
    speed: float, monkeypatch: pytest.MonkeyPatch, config: RunConfig, *words: str
) -> tuple[float, str]:
    """Of the demo on a machine that makes so many images per second, and what is said."""
    monkeypatch.setattr(demo, "images_per_second", lambda config: speed)
    console = Console(file=io.StringIO(), width=200)
    config = demo.in_time(config, words, console)
    return config.optimization.epochs, console.file.getvalue()  # type: ignore[attr-defined]


def test_a_fast_machine_trains_the_whole_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(tmp_path / "demo")
    assert epochs_on(2000.0, monkeypatch, config) == (config.optimization.epochs, "")


def test_a_slow_one_as_much_as_fits_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(tmp_path / "demo")
    epochs, told = epochs_on(240.0, monkeypatch, config)
    assert epochs == pytest.approx(demo.TIME_TO_TRAIN * 240 / 20_000, abs=0.05)
    assert "about 240 images/s" in told
    wanted = f"{config.optimization.epochs:g}"
    command = f"jepa demo --folder {config.folder}-whole optimization.epochs={wanted}"
    assert command in " ".join(told.split())
    assert epochs_on(1.0, monkeypatch, config)[0] == demo.FEWEST_EPOCHS


def test_the_page_says_that_the_run_was_shortened() -> None:
    assert demo._notes(6.0, 6.0) == []
    assert "shortened to 2.7 of the recipe's 6 epochs" in demo._notes(2.7, 6.0)[0]


def test_the_page_tells_how_to_repeat_it_on_any_machine(tmp_path: Path) -> None:
    config = recipe(tmp_path / "demo", "optimization.epochs=2.5", "devices=[cpu, cpu]")
    folder = tmp_path / "demo-again"
    told = f"jepa demo --folder {folder} seed=3 optimization.epochs=2.5 'devices=[cpu,cpu]'"
    assert demo.again(config, ["seed=3"]) == told
    given = ["optimization.epochs=2.5", "devices=[cpu,cpu]"]
    assert demo.again(config, given) == told.replace(" seed=3", "")


def test_what_was_asked_or_begun_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("optimization.epochs=9",)
    assert epochs_on(1.0, monkeypatch, recipe(tmp_path / "demo", *words), *words) == (9, "")
    begun = recipe(tmp_path / "demo", "optimization.epochs=2.5")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/config.yaml").write_text(to_yaml(begun))
    assert epochs_on(1.0, monkeypatch, recipe(tmp_path / "demo")) == (2.5, "")


def test_it_trains_on_smaller_views_than_it_is_judged_on(tmp_path: Path) -> None:
    config = recipe(tmp_path / "demo")
    assert config.data.view.size == (48, 48)
    assert config.test_size == config.data.source.size == (64, 64)  # type: ignore[union-attr]


def test_the_command_that_scores_a_run_as_the_demo_does() -> None:
    words = apply_overrides({}, demo.evaluation_words())
    assert check(EvaluationSettings, words) == demo.SETTINGS


def test_speed_is_measured_without_touching_the_number_of_threads(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    words = ("data.view.size=32", "encoder.depth=1", "batch.size=4", "devices=[cpu,cpu]")
    assert demo.images_per_second(recipe(tmp_path / "demo", *words)) > 1
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("best", [("cpu",), ("cpu", "cpu")])
def test_threads_or_processes_by_what_is_faster_here(
    best: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "choose_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(demo, "num_cores", lambda: 2)
    speed = lambda config: 300.0 if config.devices == best else 200.0  # noqa: E731
    monkeypatch.setattr(demo, "images_per_second", speed)
    assert demo.fastest(recipe(tmp_path / "demo")) == (best, 300.0)


def test_devices_that_were_asked_or_begun_with_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = lambda config: 100.0 / len(config.devices)  # noqa: E731
    monkeypatch.setattr(demo, "images_per_second", speed)
    quiet = Console(file=io.StringIO())
    asked = recipe(tmp_path / "demo", "devices=[cpu,cpu]")
    assert demo.in_time(asked, (), quiet).devices == ("cpu", "cpu")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/config.yaml").write_text(to_yaml(asked))
    assert demo.in_time(recipe(tmp_path / "demo"), (), quiet).devices == ("cpu", "cpu")
    told = demo.in_time(recipe(tmp_path / "demo", "devices=[cpu]"), (), quiet)
    assert told.devices == ("cpu",)


def test_nothing_is_measured_where_everything_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(demo, "images_per_second")
    words = ("optimization.epochs=9", "devices=[cpu]")
    config = recipe(tmp_path / "demo", *words)
    assert demo.in_time(config, words, Console(file=io.StringIO())) == config
