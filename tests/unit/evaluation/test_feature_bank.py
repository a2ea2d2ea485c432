"""Features are made once, continued after an interruption, and never mixed up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jepakit.data.sources.source import BrokenPicture, Sample, Source
from jepakit.data.views import RandomView
from jepakit.evaluation import feature_bank
from jepakit.evaluation.feature_bank import FeatureBank
from jepakit.evaluation.subject import Pictures, Subject
from jepakit.models.encoder import Encoder


class Noise(Source):
    """Random pictures; the listed ones are broken. Counts what is read."""

    num_channels = 3
    classes = ("a", "b")

    def __init__(self, num: int = 12, broken: tuple[int, ...] = ()) -> None:
        self.num, self.broken, self.read = num, broken, 0

    def __len__(self) -> int:
        return self.num

    def sample(self, index: int) -> Sample:
        self.read += 1
        if index in self.broken:
            raise BrokenPicture(self.name(index), "cut")
        picture = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        return Sample(picture, self.name(index), index % 2)

    def name(self, index: int) -> str:
        return f"{index}.png"

    def label(self, index: int) -> int:
        return index % 2

    def fingerprint(self) -> str:
        return f"noise {self.num}"


def subject(seed: int = 0, depth: int = 5, fingerprint: str = "one") -> Subject:
    torch.manual_seed(seed)
    settings = Encoder.Settings(size=None, width=8, depth=depth, num_heads=2, patch=8)
    encoder = Encoder(settings, 3, (16, 16))

    class Normalise(nn.Module):
        def forward(self, views: torch.Tensor) -> torch.Tensor:
            return views.float() / 127.5 - 1

    return Subject("net", encoder, Normalise(), (16, 16), fingerprint, torch.device("cpu"))


def pictures(source: Noise, indices: list[int] | None = None) -> Pictures:
    chosen = list(range(len(source))) if indices is None else indices
    return Pictures(source, chosen, torch.tensor([source.label(index) for index in chosen]))


def bank(folder: Path, batch_size: int = 5) -> FeatureBank:
    return FeatureBank(folder, lambda line: None, batch_size, num_workers=0)


def test_rows_are_the_last_four_layers_and_the_very_last_is_what_the_encoder_pools(
    tmp_path: Path,
) -> None:
    net, source = subject(), Noise()
    found = bank(tmp_path).features(net, pictures(source))
    views = torch.stack([torch.from_numpy(source.sample(i).picture) for i in range(12)])
    inputs = net.normalise(views.permute(0, 3, 1, 2))
    assert found.values.shape == (12, 4 * 8)
    torch.testing.assert_close(found.last().values, net.backbone.pooled(inputs))
    layers = net.backbone.last_layers(inputs, 4)
    torch.testing.assert_close(found.values[:, :8], layers[0].mean(dim=1))
    assert found.labels.tolist() == [0, 1] * 6


def test_few_layers_give_short_rows(tmp_path: Path) -> None:
    found = bank(tmp_path).features(subject(depth=2), pictures(Noise()))
    assert found.values.shape == (12, 2 * 8)


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    net, source = subject(), Noise()
    first = bank(tmp_path).features(net, pictures(source)).values.clone()
    read = source.read
    assert torch.equal(bank(tmp_path).features(net, pictures(source)).values, first)
    assert source.read == read == 12


def test_other_weights_pictures_or_views_are_other_rows(tmp_path: Path) -> None:
    source, made = Noise(), bank(tmp_path)
    first = made.features(subject(), pictures(source)).values
    other = made.features(subject(seed=1, fingerprint="two"), pictures(source)).values
    assert not torch.equal(first, other)
    some = made.features(subject(), pictures(source, [3, 1])).values
    torch.testing.assert_close(some, first[[3, 1]])
    crops = RandomView.Settings(size=16, scale=(0.3, 0.6))
    again = made.features(subject(), pictures(source), crops, num_copies=2)
    assert again.augmented is not None
    assert [copy.shape for copy in again.augmented] == [(12, 32), (12, 32)]
    assert torch.equal(again.values, first)
    assert not torch.equal(again.augmented[0], again.augmented[1])


def test_an_interrupted_file_is_continued_where_it_was_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_bank, "_SECONDS_BETWEEN_MARKS", -1)
    net, source = subject(), Noise()
    whole = bank(tmp_path / "whole").features(net, pictures(source)).values

    class Interrupted(Noise):
        def sample(self, index: int) -> Sample:
            if index == 11:
                raise KeyboardInterrupt
            return super().sample(index)

    with pytest.raises(KeyboardInterrupt):
        bank(tmp_path / "cut").features(net, pictures(Interrupted()))
    source.read = 0
    found = bank(tmp_path / "cut").features(net, pictures(source)).values
    assert source.read == 2  # two batches of five were safe
    torch.testing.assert_close(found, whole)


def test_broken_pictures_leave_rows_that_are_not_numbers(tmp_path: Path) -> None:
    source = Noise(broken=(0, 4, 11))
    found = bank(tmp_path).made(
        "mean",
        1,
        pictures(source),
        lambda views: views.float().mean(dim=(1, 2, 3))[:, None],
        (16, 16),
    )
    assert torch.isnan(found).flatten().nonzero().flatten().tolist() == [0, 4, 11]


def test_a_file_of_another_shape_is_made_anew(tmp_path: Path) -> None:
    net, source = subject(), Noise()
    first = bank(tmp_path).features(net, pictures(source)).values.clone()
    (rows,) = tmp_path.glob("*.rows")
    rows.write_bytes(rows.read_bytes()[:-4])
    torch.testing.assert_close(bank(tmp_path).features(net, pictures(source)).values, first)
