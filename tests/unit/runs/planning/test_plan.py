"""A run on paper, against parts of real ones and against sums by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from jepakit.core.accelerators import parse_gpus
from jepakit.models.sizes import SIZES
from jepakit.runs.config import RunConfig
from jepakit.runs.networks import build_networks
from jepakit.runs.planning.layouts import Layout, device_memory, on_paper, sizes_of
from jepakit.runs.planning.plan import (
    VIT_HUGE,
    beside_published,
    count_pictures,
    make_plan,
    published_for,
    read_config,
)
from jepakit.runs.planning.speed import (
    RING,
    Network,
    all_reduced,
    gathered_and_scattered,
    parse_share,
    step_time,
)
from jepakit.runs.yaml_file import apply_overrides, check

CONFIGS = Path(__file__).parents[4] / "configs"
LINKS = Network(devices_per_node=8, between=25e9)
SMALL = ("data.view.size=[32,32]", "encoder.patch=8", "encoder.size=vit_tiny", "batch.size=64")


def small(*words: str) -> RunConfig:
    return check(RunConfig, apply_overrides({}, [*SMALL, "predictor.width=48", *words]))


def test_networks_on_paper_are_those_of_the_run() -> None:
    config = small("precision=fp32")
    real = build_networks(config, 3, torch.device("cpu"))
    paper = on_paper(config, "fp32", checkpointing=False)
    assert paper.flops == real.flops
    assert (paper.memory, paper.state_bytes) == (real.memory, real.state_bytes)
    assert next(paper.objective.parameters()).is_meta


def test_parts_of_memory_are_copies_or_shares() -> None:
    networks = on_paper(small(), "bf16", checkpointing=False)
    sizes = sizes_of(networks.objective)
    ddp = device_memory(networks, Layout("ddp", False), 4, 8, "bf16")
    fsdp = device_memory(networks, Layout("fsdp", False), 4, 8, "bf16")
    state = ddp.parameters + ddp.gradients + ddp.optimizer + ddp.target
    assert state == networks.state_bytes
    assert ddp.parameters == 4 * sizes.trained
    assert 4 * (fsdp.parameters + fsdp.gradients + fsdp.optimizer + fsdp.target) == state
    assert ddp.activations - fsdp.activations == networks.memory.copies_kept
    assert ddp.gathered == 0 < fsdp.gathered
    assert fsdp.total < ddp.total


def test_a_step_is_arithmetic_and_what_of_the_network_is_not_hidden() -> None:
    networks = on_paper(small(), "bf16", checkpointing=False)
    sizes, flops, cluster = sizes_of(networks.objective), networks.flops, parse_gpus("16xA100-80G")
    time = step_time(flops, sizes, Layout("ddp", False), cluster, LINKS, 4, 2, "bf16", share=0.5)
    assert time.arithmetic == pytest.approx(4 * flops.total / (0.5 * 312e12))
    assert time.network == pytest.approx(2 * 15 / 16 * 4 * sizes.trained / (RING * 25e9))
    assert time.hidden == pytest.approx(time.arithmetic / 2 * 2 / 3)  # the last pass's backward
    assert time.one_by_one == pytest.approx(time.arithmetic + time.network)
    assert time.overlapped == pytest.approx(time.one_by_one - time.hidden)
    again = step_time(flops, sizes, Layout("ddp", True), cluster, LINKS, 4, 2, "bf16", share=0.5)
    learning = flops.context_encoder + flops.predictor
    assert again.arithmetic - time.arithmetic == pytest.approx(4 * learning / 3 / (0.5 * 312e12))


def test_bytes_through_a_link() -> None:
    sizes = sizes_of(on_paper(small(), "bf16", False).objective)
    assert all_reduced(sizes, 1) == 0
    assert all_reduced(sizes, 2) == 4 * sizes.trained
    moved = gathered_and_scattered(sizes, 2, "bf16")
    assert moved == (2 * (2 * sizes.trained + sizes.target) + 4 * sizes.trained) / 2


def test_the_slowest_link_of_a_ring_counts() -> None:
    assert LINKS.bandwidth(parse_gpus("8xH100")) == RING * 450e9
    assert LINKS.bandwidth(parse_gpus("16xH100")) == RING * 25e9
    assert LINKS.bandwidth(parse_gpus("16xT4")) == RING * 16e9


def test_the_batch_is_cut_until_it_fits() -> None:
    config = small("batch.size=65536")
    plan = make_plan(config, parse_gpus("2xT4"), 100_000, 0.3, LINKS)
    ddp, frugal = plan.choices[0], plan.choices[1]
    assert plan.precision == "fp32"  # it multiplies no bf16
    assert ddp.fits
    assert 1 < ddp.micro_batch < frugal.micro_batch <= 32768
    assert ddp.memory.total <= 0.9 * 16e9
    assert 2 * ddp.memory.activations > 0.4 * 16e9
    assert plan.best is not None
    assert plan.steps == 100


def test_what_cannot_run_says_what_to_set() -> None:
    with pytest.raises(ValueError, match=r"does not divide over 3 GPUs: set batch.size=63"):
        make_plan(small(), parse_gpus("3xH100"), 1000, 0.3, LINKS)
    with pytest.raises(ValueError, match=r"T4 does not multiply bf16: set precision=fp32"):
        make_plan(small("precision=bf16"), parse_gpus("T4"), 1000, 0.3, LINKS)


def test_nothing_fits_a_giant_on_a_small_gpu() -> None:
    config = check(RunConfig, {"encoder": {"size": "vit_gigantic"}, "batch": {"size": 2}})
    plan = make_plan(config, parse_gpus("T4"), 1000, 0.3, LINKS)
    assert plan.best is None
    assert not any(choice.fits for choice in plan.choices)


def test_the_official_recipe_beside_its_published_cost() -> None:
    path = CONFIGS / "in1k_vith14_ep300.yaml"
    config = read_config(path, [], 16)  # its placeholders are still empty
    pictures = count_pictures(config, path, None)
    assert (config.batch.size, pictures) == (2048, 1_281_167)
    assert published_for(config, pictures) is VIT_HUGE
    ours = beside_published(config, VIT_HUGE, pictures, 0.19, LINKS)
    assert ours == pytest.approx(1152, rel=0.03)  # METHOD: 19 % of the peak
    assert published_for(read_config(path, ["optimization.epochs=100"], 16), pictures) is None


def test_pictures_that_are_not_here_must_be_counted_by_hand() -> None:
    config = check(RunConfig, {"data": {"source": {"kind": "folder", "path": "nowhere"}}})
    with pytest.raises(ValueError, match=r"nowhere.*--pictures N"):
        count_pictures(config, Path("mine.yaml"), None)
    assert count_pictures(config, Path("mine.yaml"), 7) == 7


def test_without_a_share_that_of_the_nearest_size_is_taken() -> None:
    text = (Path(__file__).parents[4] / "results" / "speed-gpu" / "step.txt").read_text()
    measured = [float(number) / 989e3 for number in re.findall(r"products\W+(\d+) GFLOP", text)]
    found = [parse_share(None, SIZES[size].width)[0] for size in ("vit_small", "vit_base")]
    found += [parse_share(None, SIZES[size].width)[0] for size in ("vit_large", "vit_huge")]
    assert found == pytest.approx(measured, abs=5e-4)
    assert parse_share(None, 64)[0] == found[0]
    assert parse_share(None, 1664)[0] == found[-1]


def test_a_share_is_a_number_or_measured(tmp_path: Path) -> None:
    assert parse_share("0.4", 384)[0] == parse_share("40%", 384)[0] == 0.4
    results = Path(__file__).parents[4] / "results"
    assert parse_share(str(results / "speed-cpu" / "step.txt"), 384)[0] == pytest.approx(0.329)
    empty = tmp_path / "step.txt"
    empty.write_text("nothing")
    with pytest.raises(ValueError, match="jepa bench step CONFIG >"):
        parse_share(str(empty), 384)
    for wrong in ("0", "1.5", "much", "140%"):
        with pytest.raises(ValueError, match="neither a share nor a file"):
            parse_share(wrong, 384)
