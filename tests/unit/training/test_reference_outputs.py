"""The reference's log and checkpoints: columns, rows, keys, and continuing from them."""

from __future__ import annotations

import copy
import csv
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from jepakit.core.distributed import Place
from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch
from jepakit.masking import build_masking
from jepakit.masking.reference_multiblock import ReferenceMultiBlock
from jepakit.models import Encoder, Predictor
from jepakit.objectives import IJepa
from jepakit.pretrained.meta import read_checkpoint
from jepakit.training.optimizer import OptimizationSettings, build_optimizer
from jepakit.training.reference_outputs import (
    HEADER,
    ReferenceOutputs,
    ReferenceOutputSettings,
    continue_from_reference,
)
from jepakit.training.reporting import StepRecord

CPU = torch.device("cpu")
KEYS = {
    *("encoder", "predictor", "target_encoder", "opt", "scaler"),
    *("epoch", "loss", "batch_size", "world_size", "lr"),
}


class Run:
    """A tiny training, one step at a time."""

    def __init__(self, folder: Path, seed: int = 0, width: int = 16, **settings: Any) -> None:
        torch.manual_seed(seed)
        sizes = Encoder.Settings(size=None, width=width, depth=1, num_heads=2, patch=8)
        encoder = Encoder(sizes, 3, (32, 32))
        predictor = Predictor(Predictor.Settings(width=8, depth=1), encoder)
        self.objective = IJepa(IJepa.Settings(), encoder, predictor)
        self.optimizer = build_optimizer(self.objective, OptimizationSettings(), CPU)
        self.masking = build_masking(ReferenceMultiBlock.Settings(min_keep=0), encoder.grid)
        self.settings = ReferenceOutputSettings(tag="tag", **settings)
        self.folder = folder

    def outputs(self, place: Place = Place(), num_steps: int = 100, every: int = 10) -> Any:
        return ReferenceOutputs(
            self.settings,
            folder=self.folder,
            params={"data": {"batch_size": 2}},
            beyond=["compile: True -> False"],
            objective=self.objective,
            optimizer=self.optimizer,
            steps_per_epoch=3,
            num_steps=num_steps,
            device_batch=2,
            flush_every=every,
            place=place,
            device=CPU,
        )

    def step(self, number: int) -> StepRecord:
        masks = self.masking(2, BatchRandom(0, number))
        generator = torch.Generator().manual_seed(number)
        views = torch.randn(2, 3, 32, 32, generator=generator)
        batch = Batch(views, masks, torch.zeros(2).long(), torch.arange(2))
        output = self.objective(batch)
        output.loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.objective.update_targets(0.0)
        return StepRecord(number, output.loss.detach(), torch.zeros(()), batch, output)


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_one_row_per_step_in_the_references_columns(tmp_path: Path) -> None:
    run = Run(tmp_path)
    outputs = run.outputs()
    outputs.start(0)
    records = [run.step(number) for number in (1, 2, 3, 4)]
    for record in records:
        outputs.step_done(record)
    outputs.close()

    header, *found = rows(tmp_path / "tag_r0.csv")
    assert header == ["epoch", "itr", "loss", "mask-A", "mask-B", "time (ms)"] == HEADER
    assert [row[:2] for row in found] == [["1", "0"], ["1", "1"], ["1", "2"], ["2", "0"]]
    for row, record in zip(found, records, strict=True):
        assert float(row[2]) == pytest.approx(float(record.loss), abs=1e-5)
        assert int(row[3]) == record.batch.masks.context.shape[-1]
        assert int(row[4]) == record.batch.masks.targets.shape[-1]
        assert int(row[5]) >= 0


def test_rows_wait_for_a_logging_step_or_the_end_of_an_epoch(tmp_path: Path) -> None:
    run = Run(tmp_path)
    outputs = run.outputs(every=2)
    outputs.start(0)
    written = []
    for number in (1, 2, 3, 4, 5):
        outputs.step_done(run.step(number))
        written.append(len(rows(tmp_path / "tag_r0.csv")) - 1)
    assert written == [0, 2, 3, 4, 4]
    outputs.close()
    assert len(rows(tmp_path / "tag_r0.csv")) - 1 == 5


def test_a_full_disk_does_not_end_the_run_and_loses_no_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    outputs = run.outputs(every=1)
    outputs.start(0)
    outputs.step_done(run.step(1))

    # A limit on the size of files: the row is cut in the middle, the checkpoint does not fit.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (outputs.log_path.stat().st_size + 5, limits[1]))
    try:
        outputs.step_done(run.step(2))
        outputs.step_done(run.step(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "waits for room" in caplog.text
    assert "tag-latest.pth.tar could not be written" in caplog.text
    assert [row[1] for row in rows(outputs.log_path)] == ["itr", "0"]
    outputs.step_done(run.step(4))
    assert [row[1] for row in rows(outputs.log_path)] == ["itr", "0", "1", "2", "0"]


def test_the_checkpoint_of_an_epoch_has_the_references_keys(tmp_path: Path) -> None:
    run = Run(tmp_path)
    outputs = run.outputs()
    outputs.start(0)
    losses = []
    for number in (1, 2, 3):
        assert not (tmp_path / "tag-latest.pth.tar").exists()
        record = run.step(number)
        losses.append(float(record.loss))
        outputs.step_done(record)

    content = torch.load(tmp_path / "tag-latest.pth.tar", weights_only=True)
    assert content.keys() == KEYS
    assert (content["epoch"], content["batch_size"], content["world_size"]) == (1, 2, 1)
    assert content["scaler"] is None
    assert content["loss"] == pytest.approx(sum(losses) / 3)
    assert content["lr"] == run.optimizer.param_groups[0]["lr"]
    objective = run.objective
    for name, network in (
        ("encoder", objective.context_encoder),
        ("predictor", objective.predictor),
        ("target_encoder", objective.target_encoder),
    ):
        expected = {f"module.{key}": value for key, value in network.state_dict().items()}
        assert same(content[name], expected)
    assert content["encoder"]["module.pos_embed"].shape == (1, 16, 16)
    assert content["predictor"]["module.predictor_pos_embed"].shape == (1, 16, 8)
    assert not same(content["encoder"], content["target_encoder"])
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_four_groups_of_the_optimizer(tmp_path: Path) -> None:
    run = Run(tmp_path)
    outputs = run.outputs()
    outputs.start(0)
    for number in (1, 2, 3):
        outputs.step_done(run.step(number))
    opt = torch.load(tmp_path / "tag-latest.pth.tar", weights_only=True)["opt"]
    shapes = [
        [opt["state"][place]["exp_avg"].shape for place in group["params"]]
        for group in opt["param_groups"]
    ]
    encoder, predictor = run.objective.context_encoder, run.objective.predictor
    expected = [
        [p.shape for p in network.parameters() if (p.ndim > 1) == matrices]
        for matrices in (True, False)
        for network in (encoder, predictor)
    ]
    assert shapes == expected
    assert [group["weight_decay"] > 0 for group in opt["param_groups"]] == [
        *(True, True),
        *(False, False),
    ]


def test_every_fiftieth_epoch_stays_and_so_does_the_end(tmp_path: Path) -> None:
    run = Run(tmp_path)
    record = run.step(1)
    outputs = run.outputs(num_steps=301)
    outputs.start(147)
    for number in (148, 149, 150, 151, 299, 300, 301):
        outputs.step_done(StepRecord(number, *[getattr(record, n) for n in FIELDS]))
    names = sorted(path.name for path in tmp_path.glob("*.pth.tar"))
    assert names == ["tag-ep100.pth.tar", "tag-ep50.pth.tar", "tag-latest.pth.tar"]
    assert read_checkpoint(tmp_path / "tag-ep50.pth.tar").epoch == 50
    assert read_checkpoint(tmp_path / "tag-latest.pth.tar").epoch == 101  # begun, and the last


FIELDS = ("loss", "gradient_norm", "batch", "output")


def test_a_continued_run_cuts_the_log_where_it_continues(tmp_path: Path) -> None:
    run = Run(tmp_path)
    outputs = run.outputs()
    outputs.start(0)
    for number in range(1, 7):
        outputs.step_done(run.step(number))
    outputs.close()
    log = tmp_path / "tag_r0.csv"
    before = rows(log)
    with log.open("a") as file:
        file.write("3,0,0.1")  # a line that was cut by a kill

    again = run.outputs()
    again.start(4)
    assert rows(log) == before[:5]
    again.step_done(run.step(5))
    again.close()
    assert [row[:2] for row in rows(log)[1:]] == [
        *(["1", "0"], ["1", "1"], ["1", "2"]),
        *(["2", "0"], ["2", "1"]),
    ]
    assert (tmp_path / "tag-latest.pth.tar").exists()


def test_a_new_run_puts_an_earlier_ones_files_aside(tmp_path: Path) -> None:
    for name in ("tag-latest.pth.tar", "tag_r0.csv", "other-latest.pth.tar"):
        (tmp_path / name).write_text("earlier")
    Run(tmp_path).outputs().start(0)
    assert (tmp_path / "tag-latest.pth.tar.before-1").read_text() == "earlier"
    assert (tmp_path / "tag_r0.csv.before-1").read_text() == "earlier"
    assert (tmp_path / "other-latest.pth.tar").read_text() == "earlier"
    assert not (tmp_path / "tag-latest.pth.tar").exists()
    Run(tmp_path).outputs().start(0)
    assert (tmp_path / "tag_r0.csv.before-2").exists()


def test_other_processes_write_their_own_log_only(tmp_path: Path) -> None:
    run = Run(tmp_path)
    outputs = run.outputs(Place(1, 2, 1))
    outputs.start(0)
    for number in (1, 2, 3):
        outputs.step_done(run.step(number))
    outputs.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tag_r1.csv"]
    assert len(rows(tmp_path / "tag_r1.csv")) == 4


def test_the_resolved_file_is_written_with_what_it_cannot_say(tmp_path: Path) -> None:
    Run(tmp_path).outputs().start(0)
    text = (tmp_path / "params-ijepa.yaml").read_text()
    assert yaml.safe_load(text) == {"data": {"batch_size": 2}}
    assert "# not expressed by these keys: compile: True -> False\n" in text


def trained(folder: Path) -> Run:
    run = Run(folder)
    outputs = run.outputs()
    outputs.start(0)
    for number in (1, 2, 3):
        outputs.step_done(run.step(number))
    return run


def resume(run: Run) -> int:
    return continue_from_reference(run.settings, run.folder, run.objective, run.optimizer, 3)


def test_continuing_gives_the_same_weights_as_going_on(tmp_path: Path) -> None:
    straight = trained(tmp_path)
    other = Run(tmp_path, seed=1, continue_from="tag-latest.pth.tar")
    assert resume(other) == 3
    for run in (straight, other):
        run.step(4)
    assert same(straight.objective.state_dict(), other.objective.state_dict())


def test_frozen_positions_in_the_references_groups_are_left_out(tmp_path: Path) -> None:
    """Position tables may be listed among the matrices; as they are frozen they have no state."""
    straight = trained(tmp_path)
    path = tmp_path / "tag-latest.pth.tar"
    content = torch.load(path, weights_only=True)
    content["opt"] = with_frozen_first(content["opt"])
    for name in ("encoder", "predictor", "target_encoder"):
        content[name] = {k.removeprefix("module."): v for k, v in content[name].items()}
    torch.save(content, path)

    other = Run(tmp_path, seed=1, continue_from="tag-latest.pth.tar")
    assert resume(other) == 3
    for run in (straight, other):
        run.step(4)
    assert same(straight.objective.state_dict(), other.objective.state_dict())


def with_frozen_first(opt: dict[str, Any]) -> dict[str, Any]:
    """The same optimizer state with one more parameter at the head of the first two groups."""
    moved: dict[str, Any] = {"state": {}, "param_groups": []}
    next_place = 0
    for number, group in enumerate(opt["param_groups"]):
        places = []
        if number < 2:
            places.append(next_place)
            next_place += 1
        for old in group["params"]:
            state = opt["state"][old]
            moved["state"][next_place] = {**state, "step": int(state["step"])}
            places.append(next_place)
            next_place += 1
        moved["param_groups"].append({**group, "params": places})
    return moved


def test_nothing_to_continue_from_at_the_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert resume(Run(tmp_path)) == 0
    assert caplog.text == ""
    assert resume(Run(tmp_path, continue_from="tag-latest.pth.tar")) == 0
    assert "the run begins at epoch 1" in caplog.text
    with pytest.raises(ValueError, match=r"there is no checkpoint .*tag-ep50"):
        resume(Run(tmp_path, continue_from="tag-ep50.pth.tar"))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    path = tmp_path / "tag-latest.pth.tar"
    named = {"continue_from": path.name}
    with pytest.raises(ValueError, match="group 0 holds other parameters"):
        resume(Run(tmp_path, width=32, **named))

    content = torch.load(path, weights_only=True)
    torch.save({**content, "opt": None}, path)
    with pytest.raises(ValueError, match="holds no optimizer state"):
        resume(Run(tmp_path, **named))

    short = copy.deepcopy(content)
    short["opt"]["param_groups"].pop()
    torch.save(short, path)
    with pytest.raises(ValueError, match="has 3 groups of parameters and this run's has 4"):
        resume(Run(tmp_path, **named))

    lacking = copy.deepcopy(content)
    del lacking["encoder"]["module.norm.bias"]
    torch.save(lacking, path)
    with pytest.raises(ValueError, match=r"another architecture(?s:.*)norm\.bias"):
        resume(Run(tmp_path, **named))
