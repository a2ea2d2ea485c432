"""Normalisation: the formula, statistics measured exactly, and channels that never change."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from jepakit.data.normalization import (
    IMAGENET,
    Normalization,
    Normalizer,
    Statistics,
    choose_statistics,
    measure_statistics,
)
from jepakit.data.sources.source import BrokenPicture, Sample, Source


class Pictures(Source):
    """Pictures in memory; None stands for a broken one."""

    def __init__(self, pictures):
        self._pictures = pictures
        self.num_channels = next(
            p.shape[2] for p in [*pictures, np.zeros((1, 1, 3))] if p is not None
        )

    def __len__(self):
        return len(self._pictures)

    def sample(self, index):
        if self._pictures[index] is None:
            raise BrokenPicture(self.name(index), "broken")
        return Sample(self._pictures[index], self.name(index))

    def name(self, index):
        return str(index)

    def label(self, index):
        return -1

    def fingerprint(self):
        return "memory"


def _pictures(num=20, channels=3):
    random = np.random.default_rng(0)
    scale = np.arange(1, channels + 1) * 60
    return [(random.random((16, 16, channels)) * scale).astype(np.uint8) for _ in range(num)]


def test_formula():
    views = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET.mean, IMAGENET.std))
    result = Normalizer(IMAGENET)(views)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, (views / 255 - mean) / std, atol=1e-5, rtol=1e-5)


def test_nothing_of_it_goes_into_a_checkpoint():
    assert not Normalizer(IMAGENET).state_dict()


def test_statistics_are_those_of_all_pixels():
    pictures = _pictures()
    statistics = measure_statistics(Pictures(pictures))
    pixels = np.stack(pictures) / 255
    np.testing.assert_allclose(statistics.mean, pixels.mean((0, 1, 2)))
    np.testing.assert_allclose(statistics.std, pixels.std((0, 1, 2)))
    views = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    normalised = Normalizer(statistics)(views)
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_a_part_is_chosen_by_the_seed():
    source = Pictures(_pictures(50, 7))
    first, again, other = (measure_statistics(source, 10, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(first.mean) == 7


def test_broken_pictures_do_not_count():
    pictures = _pictures(5)
    assert measure_statistics(Pictures([None, *pictures])).mean == pytest.approx(
        measure_statistics(Pictures(pictures)).mean
    )
    with pytest.raises(ValueError, match="none of 2 pictures is readable"):
        measure_statistics(Pictures([None, None]))


def test_large_pictures_are_thinned():
    rows = np.linspace(0, 255, 1000)[:, None, None]
    picture = np.broadcast_to(rows, (1000, 1000, 1)).astype(np.uint8)
    assert measure_statistics(Pictures([picture])).mean[0] == pytest.approx(0.5, abs=0.005)


def test_a_constant_channel_becomes_zero(caplog):
    pictures = _pictures()
    for picture in pictures:
        picture[:, :, 1] = 200
    statistics = measure_statistics(Pictures(pictures))
    assert statistics.std[1] == 1
    assert "[1]" in caplog.text
    views = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    assert Normalizer(statistics)(views)[:, 1].abs().max() < 1e-6


def test_the_setting():
    parse = TypeAdapter(Normalization).validate_python
    own = parse({"mean": [0.5], "std": [0.25]})
    source = Pictures(_pictures())
    assert choose_statistics(parse("imagenet"), source, 0) == IMAGENET
    assert choose_statistics(parse("data"), source, 0) == measure_statistics(source)
    assert choose_statistics(own, Pictures(_pictures(channels=1)), 0) == own
    for normalization, channels in (("imagenet", 4), (own, 3)):
        with pytest.raises(ValueError, match=r"data\.normalization=data"):
            choose_statistics(normalization, Pictures(_pictures(channels=channels)), 0)


@pytest.mark.parametrize(
    "wrong", [{"mean": [0.5], "std": [0.0]}, {"mean": [0.5, 0.5], "std": [0.2]}, "imagnet"]
)
def test_wrong_statistics_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(Normalization).validate_python(wrong)
    assert Statistics(mean=(0.5,), std=(0.1,)).std == (0.1,)
