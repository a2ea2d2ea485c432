"""What is typed wrongly: one sentence on standard error, exit code 2, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.cli import main, spread


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JEPAKIT_CACHE", str(tmp_path / "cache"))
    for name in ("JEPAKIT_TRACEBACK", "RANK", "WORLD_SIZE", "LOCAL_RANK", "JEPAKIT_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    Path("tiny.yaml").write_text(
        "folder: run\n"
        "data: {source: {kind: scenes, num_pictures: 20, size: 24}, view: {size: 24}}\n"
        "encoder: {size: null, width: 16, depth: 1, num_heads: 2, patch: 8}\n"
        "predictor: {width: 16, depth: 1, num_heads: 2}\n"
        "optimization: {epochs: 1, warmup_epochs: 0}\n"
        "batch: {size: 4}\n"
    )
    Path("empty").mkdir()
    Path("words").mkdir()
    Path("words/a.txt").write_text("no picture")
    Path("one").mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("one/a.png")
    Path("broken").mkdir()
    for name in "ab":
        Path(f"broken/{name}.png").write_bytes(b"no picture")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tiny.yaml optimization.epohcs=3", "did you mean 'optimization.epochs'?"),
        ("tiny.yaml masking.kind=random masking.nun_targets=3", "'masking.num_targets'?"),
        ("tiny.yaml batch.size=0", "batch.size=0 is not possible"),
        ("tiny.yaml batch.size=lots", "batch.size='lots' is not possible: write a whole number"),
        ("tiny.yaml masking.kind=randm", "masking.kind='randm' is unknown: did you mean 'random'?"),
        ("tiny.yaml a.b", "'a.b' is not a setting: write name.of.setting=value"),
        ("tiny.yaml batch.size=[", "the value in 'batch.size=[' is not YAML"),
        ("tiny.yaml batch.size=21", "20 pictures do not fill batch.size=21"),
        ("tiny.yaml batch.device=3", "batch.device=3 does not divide"),
        ("tiny.yaml data.view.size=30", "does not divide into patches"),
        ("tiny.yaml encoder.num_heads=3", "heads"),
        ("tiny.yaml --devices tpu", "unknown device 'tpu': use cpu"),
        ("tiny.yaml --devices cpu tpu", "unknown device 'tpu': use cpu"),
        ("tiny.yaml --devices cuda:77", "device cuda:77 does not exist"),
        ("no.yaml", "there is no config file no.yaml"),
        ("empty", "empty is a folder, not a YAML file: for its pictures use --data empty"),
        ("one/a.png", "a.png is not a text file"),
        ("--data nowhere", "nowhere does not exist"),
        ("--data one/a.png", "is a file"),
        ("--data empty", "the folder empty is empty"),
        ("--data words", "words holds no pictures, but 1 .txt"),
        ("--data one", "one holds 1 picture: add some"),
        ("--data broken", "none of 2 pictures can be read"),
        ("tiny.yaml --data nowhere", "nowhere does not exist"),
    ],
)
def test_one_sentence_and_exit_code_2(
    line: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("pretrain", *line.split()) == 2
    output, errors = capfd.readouterr()
    sentence = errors.splitlines()[-1]
    assert told in sentence
    assert sentence.startswith("jepa: ")
    assert "Traceback" not in errors
    assert output == ""
    assert not Path("run/checkpoints").exists()


def test_an_option_that_does_not_exist_and_one_without_a_value(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for words in (["--dat", "x"], ["--devices"], ["--data"]):
        assert run("pretrain", *words) == 2
        assert "Traceback" not in capfd.readouterr().err
    assert run("pretrian") == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pretrain --epochs 3", "optimization.epochs=VALUE"),
        ("doctor --batch-size=3", "batch.size=VALUE"),
        ("bench step --batch.size 3", "batch.size=VALUE"),
        ("evaluate --num-test 9 run", "num_test=VALUE"),
        ("report --num-pictures 9 run", "num_pictures=VALUE"),
    ],
)
def test_a_setting_written_as_an_option(
    line: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*line.split()) == 2
    words = " ".join(capfd.readouterr().err.replace("│", " ").split())
    assert f". A setting is written without dashes: {told}" in words


def test_an_option_with_several_values(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("search", ".", "--query", "a.jpg", "b.jpg") == 2
    words = " ".join(capfd.readouterr().err.replace("│", " ").split())
    assert "(b.jpg). Write --query before each of its values" in words


def test_an_option_that_is_no_setting(capfd: pytest.CaptureFixture[str]) -> None:
    for line in ("pretrain --nothing", "data inspect --epochs 3", "--epochs"):
        assert run(*line.split()) == 2
        assert "A setting" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        *("evaluate nowhere", "evaluate nowhere num_test=9", "evaluate meta:nowhere"),
        *("features nowhere", "search nowhere.safetensors", "search nowhere"),
        *("visualize nowhere", "studio nowhere", "export nowhere out", "report nowhere"),
    ],
)
def test_a_model_that_is_not_there_is_refused_at_once(line: str) -> None:
    code = f"import sys; from jepakit.cli import main\ntry: main({line.split()})\n"
    code += "except SystemExit as ended: print(ended.code, 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.split() == ["2", "False"], answer.stderr
    assert answer.stderr.startswith("jepa: there is no nowhere")
    assert "give a run folder, a checkpoint, hf:ORG/NAME or timm:MODEL" in answer.stderr


@pytest.mark.parametrize("file", ["", "/state.safetensors"])
def test_a_run_says_which_steps_it_holds(file: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "tiny.yaml", "logging.tensorboard=false", "data.num_workers=0"]
    assert run(*words) == 0
    capfd.readouterr()
    missing = f"run/checkpoints/step-00000999{file}"
    assert run("features", missing, "--data", "scenes", "--out", "features.parquet") == 2
    assert "run holds the steps 5" in capfd.readouterr().err


def test_what_was_refused_can_be_corrected_in_the_same_folder(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # The first one fails after the run folder was made; nothing was learned, so nothing is lost.
    words = ["pretrain", "tiny.yaml", "logging.tensorboard=false", "data.num_workers=0"]
    assert run(*words, "batch.size=21") == 2
    assert run(*words, "batch.size=20") == 0
    assert "Finished: run" in capfd.readouterr().err


def test_printed_settings_are_the_same_when_read_again(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["folder='1e5'", "masking.kind=random", "optimization.lr=1e-3"]
    assert run("pretrain", "tiny.yaml", *words, "--print") == 0
    printed = capfd.readouterr().out
    Path("x.yaml").write_text(printed)
    assert run("pretrain", "x.yaml", "--print") == 0
    assert capfd.readouterr().out == printed
    assert not Path("1e5").exists()


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("pretrain c.yaml --devices cpu cpu", "pretrain c.yaml --devices cpu --devices cpu"),
        ("pretrain --devices 0 1 c.yaml a=1", "pretrain --devices 0 --devices 1 c.yaml a=1"),
        ("pretrain c.yaml --devices cpu a=1 b=2", "pretrain c.yaml --devices cpu a=1 b=2"),
        ("x --devices cpu --print", "x --devices cpu --print"),
        ("x --devices cpu --devices mps", "x --devices cpu --devices mps"),
        ("x --devices", "x --devices"),
        ("x --devices --print", "x --devices --print"),
        ("x a=1", "x a=1"),
        ("x c.yaml --slurm p=a n=2 --dry-run", "x c.yaml --slurm p=a --slurm n=2 --dry-run"),
        ("x --slurm p=a c.yaml b=2", "x --slurm p=a c.yaml b=2"),
        ("x --slurm p=a --devices cpu cpu", "x --slurm p=a --devices cpu --devices cpu"),
        ("x --slurm p=a --slurm n=2", "x --slurm p=a --slurm n=2"),
    ],
)
def test_devices_and_words_for_slurm_as_people_write_them(typed: str, understood: str) -> None:
    assert spread(typed.split()) == understood.split()


def test_slurm_may_stand_alone() -> None:
    assert spread(["x", "--slurm"]) == ["x", "--slurm", ""]
    assert spread(["x", "--slurm", "c.yaml"]) == ["x", "--slurm", "", "c.yaml"]
