"""The words after `--slurm`, and `--dry-run` where there is no SLURM."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from jepakit.cli import main
from jepakit.commands.submission import settings_from
from jepakit.launch.slurm_settings import SlurmSettings
from jepakit.runs.config import RunConfig

ROOT = Path(__file__).parents[3]


class Done(NamedTuple):
    code: object
    out: str
    err: str


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs `jepa WORDS`, or a script of the repository, on a machine without SLURM."""
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    def execute(program: str, *words: object) -> None:
        if program == "jepa":
            main([str(word) for word in words])
        monkeypatch.setattr(sys, "argv", [str(ROOT / program), *map(str, words)])
        runpy.run_path(str(ROOT / program), run_name="__main__")

    def run(program: str, *words: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            execute(program, *words)
        written = capfd.readouterr()
        return Done(ended.value.code or 0, written.out, written.err)

    return run


def test_words_of_slurm_and_of_the_run_are_told_apart() -> None:
    settings, others = settings_from(
        [
            *("partition=lab,nodes=2", "exclude=n1,n2", "time=12:00:00", "optimization.epochs=5"),
            *("environment.HF_HOME=/x=y", "precision=fp32", "setup=module load a", "setup=b"),
        ]
    )
    assert others == ["optimization.epochs=5", "precision=fp32"]
    assert settings == SlurmSettings(
        partition="lab",
        nodes=2,
        exclude="n1,n2",
        time="12:00:00",
        environment={"HF_HOME": "/x=y"},
        setup=("module load a", "b"),
    )


def test_no_name_could_be_meant_for_both() -> None:
    assert not SlurmSettings.model_fields.keys() & RunConfig.model_fields.keys()
    assert "file" not in {*SlurmSettings.model_fields, *RunConfig.model_fields}


def test_settings_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("partition: lab\ntime: 12:00:00\nnodes: 4\nsetup: [module load cuda]\n")
    settings, _ = settings_from([f"file={file}", "nodes=2"])
    assert (settings.partition, settings.minutes, settings.nodes) == ("lab", 720, 2)
    assert settings.setup == ("module load cuda",)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("partiton=lab", "unknown setting 'partiton': did you mean 'partition'?"),
        ("nodes=two", "nodes='two' is not possible: write a whole number"),
        ("nodes=0", "nodes='0' is not possible"),
        ("file=none.yaml", "there is no such file"),
        ("=2", "is not a setting: write name=value"),
    ],
)
def test_mistakes_are_told(word: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        settings_from([word])
    assert str(error.value).startswith("--slurm")


def test_a_dry_run_shows_the_script_and_leaves_nothing(
    typed: Callable[..., Done], tmp_path: Path
) -> None:
    done = typed(
        *("jepa", "pretrain", ROOT / "configs" / "tiny" / "scenes.yaml", "--slurm"),
        *("partition=lab", "nodes=2", "gpus_per_node=8", "time=60", "optimization.epochs=5"),
        *("data.num_workers=3", "--dry-run"),
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("#!/bin/bash\n")
    for flag in ("partition=lab", "nodes=2", "gpus-per-node=8", "time=60", "cpus-per-task=3"):
        assert f"#SBATCH --{flag}\n" in done.out
    assert f"#SBATCH --output={tmp_path}/runs/scenes/jobs/job_%j/" in done.out
    assert not list(tmp_path.iterdir())


def test_the_references_words_and_files(typed: Callable[..., Done], tmp_path: Path) -> None:
    text = (ROOT / "configs" / "in1k_vith14_ep300.yaml").read_text()
    text = text.replace("$YOUR_PATH_TO_IMAGES", "/pictures")
    (tmp_path / "huge.yaml").write_text(text.replace("$YOUR_PATH_FOR_OUTPUTS", "/runs"))
    words = ("--fname", "huge.yaml", "--folder", "logs", "--partition", "learn")
    words = (*words, "--nodes", "2", "--tasks-per-node", "8", "--time", "1000")
    done = typed("main_distributed.py", *words, "--memory-per-gpu", "55G", "--dry-run")
    assert (done.code, done.err) == (0, "")
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", done.out, re.MULTILINE))
    assert (asked["nodes"], asked["ntasks-per-node"], asked["gpus-per-node"]) == ("2", "8", "8")
    assert (asked["partition"], asked["time"], asked["mem-per-gpu"]) == ("learn", "1000", "55G")
    assert asked["cpus-per-task"] == "10"  # data.num_workers of the file
    assert asked["output"].startswith(str(tmp_path / "logs" / "job_%j"))


@pytest.mark.parametrize("style", ["lines", "yaml"])
def test_batch_launch_takes_lists_in_both_styles(
    typed: Callable[..., Done], tmp_path: Path, style: str
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"folder: runs/{name}\n")
    mark = "- " if style == "yaml" else ""
    (tmp_path / "list.txt").write_text(f"# two runs\n{mark}one.yaml\n{mark}two.yaml\n")
    words = ("--fname", "list.txt", "--folder", "logs", "--batch-launch", "--dry-run")
    done = typed("main_distributed.py", *words)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("#!/bin/bash") == 2


def test_files_are_checked_before_anything_is_submitted(typed: Callable[..., Done]) -> None:
    unfilled = ROOT / "configs" / "in1k_vith14_ep300.yaml"
    done = typed("main_distributed.py", "--fname", unfilled, "--folder", "logs")
    assert done.code == 2
    assert done.err.startswith(f"jepa: {unfilled}: data.root_path ('$YOUR_PATH_TO_IMAGES') and ")
    words = ("--fname", unfilled, "--folder", "logs", "--batch-launch")
    assert "must list config files, one per line" in typed("main_distributed.py", *words).err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--dry-run"], "--dry-run shows a batch script: add --slurm partition=NAME"),
        (["--slurm", "nodes=2", "--devices", "cpu"], "with --slurm leave --devices out"),
        (["--slurm", "gpus_per_node=0"], "To train on this machine use main.py"),
        (["--slurm"], "sinfo is not here: type this on a node of the cluster"),
    ],
)
def test_what_cannot_be_done_here_is_told(
    typed: Callable[..., Done], tmp_path: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "c.yaml").write_text("folder: run\n")
    done = typed("jepa", "pretrain", "c.yaml", *words)
    assert done.code == 2
    assert sentence in done.err
