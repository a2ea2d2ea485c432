from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jepakit.data.sources.source import BrokenPicture, Sample, Source
from jepakit.evaluation.attentive_probe import AttentiveProbe, Sweep
from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.subject import Pictures, Subject
from jepakit.models.encoder import Encoder
from jepakit.models.heads import AttentiveHead, AttentivePooling, default_heads, score_together

CPU = torch.device("cpu")
COLOURS = torch.tensor([[220, 40, 40], [40, 220, 40], [40, 40, 220]])


class Colours(Source):
    """Noisy pictures of one colour each; the colour is the label."""

    num_channels = 3
    classes = ("red", "green", "blue")

    def __init__(self, num: int, broken: frozenset[int] = frozenset()) -> None:
        self.num, self.broken, self.num_read = num, broken, 0

    def __len__(self) -> int:
        return self.num

    def sample(self, index: int) -> Sample:
        self.num_read += 1
        if index in self.broken:
            raise BrokenPicture(self.name(index), "planted")
        noise = np.random.default_rng(index).integers(-30, 30, size=(16, 16, 3))
        colour = COLOURS[self.label(index)].numpy() + noise
        return Sample(colour.astype(np.uint8), self.name(index), self.label(index))

    def name(self, index: int) -> str:
        return f"colour-{index}"

    def label(self, index: int) -> int:
        return index % 3

    def fingerprint(self) -> str:
        return f"colours-{self.num}"


class Centred(nn.Module):
    def forward(self, views: Tensor) -> Tensor:
        return views.float() / 127.5 - 1


def subject(precision: str = "fp32") -> Subject:
    torch.manual_seed(0)
    settings = Encoder.Settings(
        size=None, width=16, depth=2, num_heads=2, patch=8, initialisation="fan_in"
    )
    encoder = Encoder(settings, 3, (16, 16)).requires_grad_(False)
    return Subject("colours", encoder, Centred(), (16, 16), "weights-0", CPU, precision)


def pictures(source: Source, first: int, end: int, labels: Tensor | None = None) -> Pictures:
    indices = list(range(first, end))
    own = torch.tensor([source.label(index) for index in indices])
    return Pictures(source, indices, own if labels is None else labels)


def settings(**changes: object) -> AttentiveProbe.Settings:
    few = {"epochs": 6, "batch_size": 16, "lr": (3e-3, 1e-2), "weight_decay": (0.0, 0.1)}
    return AttentiveProbe.Settings(**(few | changes))


def judge(folder: Path, source: Source | None = None, **changes: object) -> Judgement:
    source = source or Colours(120)
    train, test = pictures(source, 0, 72), pictures(source, 72, 120)
    probe = AttentiveProbe(settings(**changes))
    return probe.judge(subject(), train, test, folder, lambda line: None)


def test_pooling_is_multi_head_attention_of_the_query() -> None:
    torch.manual_seed(0)
    pooling = AttentivePooling(16, 2)
    for parameter in pooling.parameters():
        nn.init.normal_(parameter)  # nothing is zero or one
    tokens = torch.randn(5, 7, 16)
    normed = pooling.norm(tokens)
    key, value = (
        layer(normed).unflatten(-1, (2, 8)).transpose(1, 2)
        for layer in (pooling.key, pooling.value)
    )
    query = pooling.query[None, :, None].expand(5, -1, -1, -1)
    mixed = F.scaled_dot_product_attention(query, key, value)[:, :, 0].flatten(1)
    torch.testing.assert_close(pooling(tokens), pooling.proj(mixed), atol=1e-4, rtol=1e-4)


def test_heads_together_give_what_each_gives_alone() -> None:
    torch.manual_seed(0)
    heads = [AttentiveHead(16, 3, 2) for _ in range(4)]
    for parameter in nn.ModuleList(heads).parameters():
        nn.init.normal_(parameter)
    tokens = torch.randn(5, 7, 16)
    together = score_together(heads, tokens)
    for head, scores in zip(heads, together, strict=True):
        pooled = head.pooling(tokens)
        torch.testing.assert_close(scores, head.linear(head.norm(pooled)), atol=1e-4, rtol=1e-4)
    together[1].sum().backward()
    assert all((parameter.grad == 0).all() for parameter in heads[0].parameters())
    assert any((parameter.grad != 0).any() for parameter in heads[1].parameters())


@pytest.mark.parametrize(("width", "expected"), [(16, 1), (192, 3), (768, 12), (1000, 10)])
def test_the_default_number_of_heads_divides_the_width(width: int, expected: int) -> None:
    assert default_heads(width) == expected


def test_a_number_of_heads_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValueError, match="set num_heads=1"):
        AttentivePooling(16, 3)


@pytest.mark.parametrize("augment", [True, False])
def test_separable_pictures_are_told_apart(tmp_path: Path, augment: bool) -> None:
    found = judge(tmp_path, augment=augment)
    assert found.marks["attentive"].mean() > 0.95
    assert found.predictions["attentive"].tolist()[:6] == [0, 1, 2, 0, 1, 2]
    losses, shares = found.curves["attentive/loss"], found.curves["attentive/held_out"]
    assert len(losses) == len(shares) == 6
    assert losses[-1] < losses[0]


def test_shuffled_labels_stay_near_chance(tmp_path: Path) -> None:
    labels = torch.from_numpy(np.random.default_rng(0).integers(3, size=120))
    source = Colours(120)
    train, test = pictures(source, 0, 72, labels[:72]), pictures(source, 72, 120, labels[72:])
    probe = AttentiveProbe(settings(augment=False))
    found = probe.judge(subject(), train, test, tmp_path, lambda line: None)
    assert found.marks["attentive"].mean() < 0.55


def test_marks_are_in_the_order_of_the_test_pictures(tmp_path: Path) -> None:
    source = Colours(120, broken=frozenset({1, 80}))
    indices = [100, 73, 80, 75]
    test = Pictures(source, indices, torch.tensor([1, 0, 2, 0]))  # the second is mislabelled
    lines: list[str] = []
    probe = AttentiveProbe(settings(augment=True))
    found = probe.judge(subject(), pictures(source, 0, 72), test, tmp_path, lines.append)
    assert found.predictions["attentive"].tolist() == [1, 1, -1, 0]
    assert found.marks["attentive"].tolist() == [1, 0, 0, 1]
    assert len(lines) == 7
    assert all("unreadable pictures: 1" in line for line in lines[:-1])
    assert "1 of 4 test pictures cannot be read" in lines[-1]


def test_the_subject_stays_as_it_was(tmp_path: Path) -> None:
    examined = subject()
    examined.backbone.train()
    before = {name: value.clone() for name, value in examined.backbone.state_dict().items()}
    source = Colours(60)
    train, test = pictures(source, 0, 40), pictures(source, 40, 60)
    AttentiveProbe(settings(epochs=1)).judge(examined, train, test, tmp_path, lambda line: None)
    for name, value in examined.backbone.state_dict().items():
        assert torch.equal(value, before[name])
    assert examined.backbone.training


def test_a_head_alone_learns_what_it_learns_in_the_sweep(tmp_path: Path) -> None:
    both = {"augment": False, "epochs": 3}
    swept = judge(tmp_path / "swept", lr=(3e-3, 1e-2), weight_decay=(0.0, 0.1), **both)
    for lr in (3e-3, 1e-2):
        alone = judge(tmp_path / f"{lr}", lr=(lr,), weight_decay=(0.1,), **both)
        name = f"sweep/attentive/lr={lr:g}/wd=0.1"
        assert alone.chosen[name] == pytest.approx(swept.chosen[name])
    assert len([name for name in swept.chosen if name.startswith("sweep/")]) == 4
    chosen = {"attentive_lr": (swept.chosen["attentive_lr"],)}
    chosen["attentive_weight_decay"] = (swept.chosen["attentive_weight_decay"],)
    alone = judge(
        tmp_path / "alone",
        lr=chosen["attentive_lr"],
        weight_decay=chosen["attentive_weight_decay"],
        **both,
    )
    assert alone.curves["attentive/loss"] == pytest.approx(swept.curves["attentive/loss"])
    assert torch.equal(alone.predictions["attentive"], swept.predictions["attentive"])


def test_heads_start_alike_and_get_their_own_rates() -> None:
    sweep = Sweep(settings(lr=(1.0, 2.0)), subject(), 3, 10, [], torch.zeros(0, dtype=torch.long))
    first, *others = (head.state_dict() for head in sweep.heads)
    for other in others:
        assert all(torch.equal(other[name], first[name]) for name in first)
    groups = [(group["peak"], group["weight_decay"]) for group in sweep.optimizer.param_groups]
    assert groups == [(lr, wd) for lr in (1.0, 2.0) for wd in (0.0, 0.0, 0.1, 0.0)]
    for group in sweep.optimizer.param_groups:
        decayed = {parameter.ndim > 1 for parameter in group["params"]}
        assert len(decayed) == 1


def test_the_held_out_pictures_choose(tmp_path: Path) -> None:
    # A rate of zero learns nothing: the held-out accuracy must prefer the other, wherever it is.
    for place, rates in enumerate([(0.0, 1e-2), (1e-2, 0.0)]):
        found = judge(tmp_path / f"{place}", lr=rates, weight_decay=(0.0,), augment=False)
        assert found.chosen["attentive_lr"] == 1e-2
        assert found.chosen["sweep/attentive/lr=0.01/wd=0"] > 0.95
        assert found.chosen["sweep/attentive/lr=0/wd=0"] < 0.9
        assert found.marks["attentive"].mean() > 0.95


def test_the_best_has_most_right_then_the_lowest_loss() -> None:
    sweep = Sweep(
        settings(lr=(1.0, 2.0, 3.0), weight_decay=(0.0,)),
        subject(),
        3,
        10,
        [],
        torch.zeros(0, dtype=torch.long),
    )
    shares, losses = (0.8, 0.9, 0.9), (0.1, float("nan"), 0.5)
    figures = {}
    for name, share, loss in zip(sweep.names, shares, losses, strict=True):
        figures |= {f"{name}/held_out": share, f"{name}/held_out_loss": loss}
    assert sweep.best(figures) == 2


def test_kept_tokens_teach_what_streamed_ones_teach(tmp_path: Path) -> None:
    read, found = {}, {}
    for limit in (2.0, 0.0):
        source = Colours(120, broken=frozenset({4, 5}))
        found[limit] = judge(
            tmp_path / f"{limit}", source, augment=False, epochs=2, cache_gigabytes=limit
        )
        read[limit] = source.num_read
    assert found[2.0].curves["attentive/loss"] == pytest.approx(
        found[0.0].curves["attentive/loss"], rel=1e-4
    )
    assert read[2.0] == 120  # every picture once
    assert read[0.0] == 2 * 72 + 48


class Stopped(Exception):
    pass


def test_it_continues_where_it_stopped(tmp_path: Path) -> None:
    source = Colours(120)
    train, test = pictures(source, 0, 72), pictures(source, 72, 120)
    probe = AttentiveProbe(settings(epochs=4))

    def stop(line: str) -> None:
        if "epoch 2 of" in line:
            raise Stopped

    with pytest.raises(Stopped):
        probe.judge(subject(), train, test, tmp_path / "stopped", stop)
    lines: list[str] = []
    found = probe.judge(subject(), train, test, tmp_path / "stopped", lines.append)
    assert "continues after 2.0 of 4 epochs" in lines[0]
    assert len(lines) == 3
    whole = probe.judge(subject(), train, test, tmp_path / "whole", lambda line: None)
    assert found.curves == whole.curves
    assert found.chosen == whole.chosen


def test_too_few_pictures_to_hold_some_out(tmp_path: Path) -> None:
    source = Colours(12)
    train, test = pictures(source, 0, 3), pictures(source, 3, 12)
    with pytest.raises(ValueError, match="too few to hold some out"):
        AttentiveProbe().judge(subject(), train, test, tmp_path, lambda line: None)


def test_bf16_comes_close(tmp_path: Path) -> None:
    source = Colours(90)
    train, test = pictures(source, 0, 60), pictures(source, 60, 90)
    found = AttentiveProbe(settings(augment=False)).judge(
        subject("bf16"), train, test, tmp_path, lambda line: None
    )
    assert found.marks["attentive"].mean() > 0.95
