from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jepakit.core.schedules import warmup_cosine
from jepakit.data.sources.source import BrokenPicture, Sample, Source
from jepakit.evaluation.fine_tuning import Classifier, FineTuning, Tuned, layer_groups, probe_of
from jepakit.evaluation.judgement import Judgement
from jepakit.evaluation.picture_batches import Order
from jepakit.evaluation.picture_training import PictureTraining
from jepakit.evaluation.subject import Pictures, Subject
from jepakit.models.encoder import Encoder

CPU = torch.device("cpu")


class Stopped(Exception):
    pass


class Shades(Source):
    """Noisy dark or bright pictures; brightness is the label."""

    num_channels = 3
    classes = ("dark", "bright")

    def __init__(self, num: int, broken: frozenset[int] = frozenset()) -> None:
        self.num, self.broken = num, broken
        self.num_left: int | None = None  # readings until it stops

    def __len__(self) -> int:
        return self.num

    def sample(self, index: int) -> Sample:
        if self.num_left is not None:
            self.num_left -= 1
            if self.num_left < 0:
                raise Stopped
        if index in self.broken:
            raise BrokenPicture(self.name(index), "planted")
        noise = np.random.default_rng(index).integers(-40, 40, size=(16, 16, 3))
        grey = (70, 190)[self.label(index)] + noise
        return Sample(grey.astype(np.uint8), self.name(index), self.label(index))

    def name(self, index: int) -> str:
        return f"shade-{index}"

    def label(self, index: int) -> int:
        return index % 2

    def fingerprint(self) -> str:
        return f"shades-{self.num}"


class Centred(nn.Module):
    def forward(self, views: Tensor) -> Tensor:
        return views.float() / 127.5 - 1


def subject(fingerprint: str = "weights-0") -> Subject:
    torch.manual_seed(0)
    settings = Encoder.Settings(
        size=None, width=16, depth=2, num_heads=2, patch=8, initialisation="fan_in"
    )
    encoder = Encoder(settings, 3, (16, 16)).requires_grad_(False)  # as a target encoder is
    return Subject("shades", encoder, Centred(), (16, 16), fingerprint, CPU, "fp32")


def pictures(source: Source, first: int, end: int, labels: Tensor | None = None) -> Pictures:
    indices = list(range(first, end))
    own = torch.tensor([source.label(index) for index in indices])
    return Pictures(source, indices, own if labels is None else labels)


def settings(**changes: object) -> FineTuning.Settings:
    few = {"epochs": 4, "batch_size": 16, "lr": 3e-3, "warmup_epochs": 1, "ema": 0.9}
    return FineTuning.Settings(**(few | changes))


def judge(
    folder: Path,
    source: Source | None = None,
    labels: Tensor | None = None,
    lines: list[str] | None = None,
    **changes: object,
) -> Judgement:
    source = source or Shades(96)
    train, test = pictures(source, 0, 64, labels), pictures(source, 64, 96)
    lines = [] if lines is None else lines
    return FineTuning(settings(**changes)).judge(subject(), train, test, folder, lines.append)


def quiet(line: str) -> None:
    del line


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_separable_pictures_are_told_apart(tmp_path: Path, ema: float) -> None:
    # Solarising and inverting turn dark into bright: RandAugment is another test's matter.
    lines: list[str] = []
    found = judge(tmp_path, lines=lines, randaugment_ops=0, ema=ema, held_out=0.2)
    assert found.marks["fine_tune"].mean() > 0.95
    assert found.predictions["fine_tune"].tolist()[:4] == [0, 1, 0, 1]
    assert found.curves.keys() == {f"fine_tune/{n}" for n in ("loss", "accuracy", "held_out")}
    assert found.curves["fine_tune/held_out"][-1] > 0.9
    assert found.curves["fine_tune/loss"][-1] < found.curves["fine_tune/loss"][0]
    assert len(lines) == 4
    assert "epoch 1 of 4, loss" in lines[0]
    assert "held-out accuracy" in lines[0]
    assert "left" in lines[0]


def test_shuffled_labels_stay_near_chance(tmp_path: Path) -> None:
    labels = torch.from_numpy(np.random.default_rng(0).permutation(96) % 2)
    source = Shades(96)
    train, test = pictures(source, 0, 64, labels[:64]), pictures(source, 64, 96, labels[64:])
    probe = FineTuning(settings(randaugment_ops=0, epochs=2))
    found = probe.judge(subject(), train, test, tmp_path, quiet)
    assert 0.2 < found.marks["fine_tune"].mean() < 0.8


def test_the_subject_stays_as_it_was(tmp_path: Path) -> None:
    examined = subject()
    examined.backbone.eval()
    before = {name: value.clone() for name, value in examined.backbone.state_dict().items()}
    source = Shades(40)
    train, test = pictures(source, 0, 32), pictures(source, 32, 40)
    FineTuning(settings(epochs=1)).judge(examined, train, test, tmp_path, quiet)
    for name, value in examined.backbone.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(part.training for part in examined.backbone.modules())
    assert not any(p.requires_grad for p in examined.backbone.parameters())


def test_all_weights_of_the_copy_learn(tmp_path: Path) -> None:
    tuned = Tuned(
        settings(ema=0),
        subject(),
        2,
        4,
        pictures(Shades(4), 0, 4).at(torch.zeros(4, dtype=torch.bool)),
    )
    before = {name: p.clone() for name, p in tuned.trained.named_parameters()}
    tuned.step(0, torch.randn(8, 3, 16, 16), torch.arange(8) % 2)
    same = [name for name, p in tuned.trained.named_parameters() if torch.equal(p, before[name])]
    assert same == []


def test_marks_are_in_the_order_of_the_test_pictures(tmp_path: Path) -> None:
    source = Shades(96, broken=frozenset({1, 80}))
    test = Pictures(source, [91, 66, 80, 65], torch.tensor([1, 1, 0, 1]))  # 66 is mislabelled
    lines: list[str] = []
    found = FineTuning(settings(randaugment_ops=0)).judge(
        subject(), pictures(source, 0, 64), test, tmp_path, lines.append
    )
    assert found.predictions["fine_tune"].tolist() == [1, 0, -1, 1]
    assert found.marks["fine_tune"].tolist() == [1, 0, 0, 1]
    assert all("unreadable pictures: 1" in line for line in lines[:-1])
    assert "1 of 4 test pictures cannot be read" in lines[-1]


def test_rates_decay_with_depth() -> None:
    classifier = Classifier(subject().backbone, 2)
    groups = layer_groups(classifier, settings(layer_decay=0.5, weight_decay=0.3))
    share_of, decay_of = {}, {}
    for group in groups:
        for parameter in group["params"]:
            share_of[parameter], decay_of[parameter] = group["share"], group["weight_decay"]
    backbone = classifier.backbone
    for module, share in [
        (backbone.patch_embed, 0.125),
        (backbone.blocks[0], 0.25),
        (backbone.blocks[1], 0.5),
        (backbone.norm, 1.0),
        (classifier.linear, 1.0),
    ]:
        assert {share_of[parameter] for parameter in module.parameters()} == {share}
    assert share_of.keys() == set(classifier.parameters())
    for parameter, decay in decay_of.items():
        assert decay == (0.3 if parameter.ndim > 1 else 0.0)


def test_rates_warm_up_and_end_at_zero() -> None:
    nothing = pictures(Shades(4), 0, 4).at(torch.zeros(4, dtype=torch.bool))
    tuned = Tuned(settings(layer_decay=0.5), subject(), 2, 2, nothing)
    inputs, labels = torch.randn(4, 3, 16, 16), torch.arange(4) % 2
    rates = []
    for step in range(8):  # four epochs of two steps, the first of them warm-up
        tuned.step(step, inputs, labels)
        rates.append([group["lr"] for group in tuned.optimizer.param_groups])
    head = [row[-1] for row in rates]
    assert head == pytest.approx(
        [warmup_cosine((step + 1) / 8, 0.25, 0.0, 3e-3, 0.0) for step in range(8)]
    )
    assert head[0] == pytest.approx(1.5e-3)
    assert max(head) == head[1] == pytest.approx(3e-3)
    assert head[-1] == pytest.approx(0)
    assert rates[1][0] == pytest.approx(3e-3 * 0.5**3)


def test_averaged_weights_lag_behind() -> None:
    nothing = pictures(Shades(4), 0, 4).at(torch.zeros(4, dtype=torch.bool))
    tuned = Tuned(settings(ema=0.9), subject(), 2, 100, nothing)
    average = tuned.network["average"].linear.weight
    first = average.clone()
    inputs, labels = torch.randn(4, 3, 16, 16), torch.arange(4) % 2
    tuned.step(0, inputs, labels)  # the memory of step 0 is 1 / 10
    expected = torch.lerp(first, tuned.trained.linear.weight, 0.9)
    torch.testing.assert_close(average, expected)
    previous = average.clone()
    tuned.step(399, inputs, labels)
    torch.testing.assert_close(average, torch.lerp(previous, tuned.trained.linear.weight, 0.1))


def everything(folder: Path, source: Shades, tell: object = quiet) -> Judgement:
    """All that draws random numbers is on."""
    train, test = pictures(source, 0, 64), pictures(source, 64, 96)
    chosen = settings(epochs=3, held_out=0.2, mixup=0.5, cutmix=0.5)
    return FineTuning(chosen).judge(subject(), train, test, folder, tell)


def weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    (newest,) = folder.glob("step-*/state.safetensors")
    return load_file(newest)


def assert_same(found: Judgement, whole: Judgement, folder: Path) -> None:
    assert found.curves == whole.curves
    assert torch.equal(found.predictions["fine_tune"], whole.predictions["fine_tune"])
    expected = weights(folder / "whole")
    for name, value in weights(folder / "stopped").items():
        assert torch.equal(value, expected[name]), name


def test_it_continues_bit_for_bit(tmp_path: Path) -> None:
    whole = everything(tmp_path / "whole", Shades(96))

    def stop(line: str) -> None:
        if "epoch 1 of" in line:
            raise Stopped

    with pytest.raises(Stopped):
        everything(tmp_path / "stopped", Shades(96), stop)
    torch.manual_seed(123)  # what was drawn meanwhile plays no part
    source = Shades(96)
    source.num_left = 80  # ends within the second or third epoch
    with pytest.raises(Stopped):
        everything(tmp_path / "stopped", source)
    lines: list[str] = []
    found = everything(tmp_path / "stopped", Shades(96), lines.append)
    assert "continues after" in lines[0]
    assert_same(found, whole, tmp_path)


def test_it_continues_in_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PictureTraining, "_is_due", lambda training: training.step % 3 == 2)
    whole = everything(tmp_path / "whole", Shades(96))
    source = Shades(96)
    source.num_left = 40
    with pytest.raises(Stopped):
        everything(tmp_path / "stopped", source)
    lines: list[str] = []
    found = everything(tmp_path / "stopped", Shades(96), lines.append)
    assert "continues after 0.5 of 3 epochs" in lines[0]
    assert_same(found, whole, tmp_path)


def test_what_has_ended_is_not_trained_again(tmp_path: Path) -> None:
    first = judge(tmp_path, epochs=1)
    source = Shades(96)
    source.num_left = 32  # the test pictures only
    again = judge(tmp_path, source, epochs=1)
    assert torch.equal(again.predictions["fine_tune"], first.predictions["fine_tune"])


def test_another_training_is_not_continued(tmp_path: Path) -> None:
    judge(tmp_path, epochs=1)
    with pytest.raises(ValueError, match="other weights, pictures or settings"):
        judge(tmp_path, epochs=1, lr=1e-4)
    found = judge(tmp_path, epochs=1, num_workers=0, checkpoint_minutes=None)  # only speed
    assert len(found.marks["fine_tune"]) == 32
    source = Shades(96)
    with pytest.raises(ValueError, match="remove it or choose another folder"):
        FineTuning(settings(epochs=1)).judge(
            subject("weights-1"), pictures(source, 0, 64), pictures(source, 64, 96), tmp_path, quiet
        )


def test_workers_change_nothing(tmp_path: Path) -> None:
    alone, shared = (
        judge(tmp_path / f"{number}", epochs=1, num_workers=number) for number in (0, 1)
    )
    assert alone.curves == shared.curves
    assert torch.equal(alone.predictions["fine_tune"], shared.predictions["fine_tune"])


def test_an_epoch_shows_every_picture_once() -> None:
    order = Order(50, 16, seed=3)
    assert order.steps_per_epoch == 4
    epochs = [
        np.concatenate([order.places(4 * epoch + step) for step in range(4)]) for epoch in range(2)
    ]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1])
    assert {len(order.places(step)) for step in range(4)} == {12, 13}


def test_a_loss_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use a lower lr"):
        judge(tmp_path, lr=1e30, epochs=2, warmup_epochs=0, clip_gradients=None)


def test_unreadable_pictures_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no training picture can be read"):
        judge(tmp_path, Shades(96, broken=frozenset(range(64))))


@pytest.mark.parametrize(
    ("labels", "told"),
    [(torch.zeros(64, dtype=torch.long), "two classes"), (torch.arange(64) - 1, "no label")],
)
def test_labels_that_cannot_be_learned(tmp_path: Path, labels: Tensor, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        judge(tmp_path, labels=labels)


def test_an_empty_split(tmp_path: Path) -> None:
    source = Shades(8)
    nothing = Pictures(source, [], torch.zeros(0, dtype=torch.long))
    with pytest.raises(ValueError, match="the test split is empty"):
        FineTuning().judge(subject(), pictures(source, 0, 8), nothing, tmp_path, quiet)


def test_it_can_start_from_the_frozen_probe(tmp_path: Path) -> None:
    source, examined = Shades(96), subject()
    train, test = pictures(source, 0, 64), pictures(source, 64, 96)
    probe = probe_of(examined, train, 2, settings())
    tuned = Tuned(settings(), examined, 2, 4, train.at(torch.zeros(64, dtype=torch.bool)))
    tuned.start_from(probe)
    inputs = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (tokens,) = examined.backbone.last_layers(inputs, 1)
        expected = probe.scores(tokens.mean(dim=1)).float()
        for classifier in tuned.network.values():
            torch.testing.assert_close(classifier(inputs), expected, atol=1e-3, rtol=1e-3)
    found = judge(tmp_path, source, head="probe", lr=1e-9, epochs=1, randaugment_ops=0)
    assert found.predictions["fine_tune"].equal(tuned.predict(test))


def test_few_pictures_get_small_batches_and_start_from_the_probe() -> None:
    few = FineTuning.Settings.low_shot()
    assert few.head == "probe"
    assert Order(95, few.batch_size, 0).steps_per_epoch * few.epochs >= 150


def test_the_papers_protocol() -> None:
    paper = FineTuning.Settings.paper_low_shot()
    assert (paper.epochs, paper.batch_size, paper.lr) == (50, 512, 3e-5)
    assert (paper.layer_decay, paper.label_smoothing) == (0.75, 0.1)
    assert (paper.mixup, paper.cutmix, paper.randaugment_ops, paper.ema) == (0, 0, 0, 0)
