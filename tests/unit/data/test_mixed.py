"""Mixtures: shares of an epoch, names and classes that fit together, and resuming at any step."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.sources import SourceSettings, build_source
from jepakit.data.sources.decoded import DecodedSource
from jepakit.data.sources.mixed import Mixed, share_out
from jepakit.data.sources.source import BrokenPicture
from jepakit.data.views import RandomView

PARSE = TypeAdapter(SourceSettings).validate_python


def mixture(*parts: tuple[dict[str, Any], float], **settings: Any) -> Mixed:
    sources = [{"source": source, "weight": weight} for source, weight in parts]
    built = build_source(PARSE({"kind": "mixed", "sources": sources, **settings}))
    assert isinstance(built, Mixed)
    return built


def scenes(number: int, **settings: Any) -> dict[str, Any]:
    return {"kind": "scenes", "num_pictures": number, "size": (8, 8), **settings}


def folder(path: Path, *classes: str, channels: int = 3) -> dict[str, Any]:
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for picture in range(2):
            image = Image.new("RGB", (12, 10), (number * 50, picture, 7))
            image.save(path / name / f"{picture}.png")
    return {"kind": "folder", "path": path, "index_cache": False, "channels": channels}


def num_from(indices: np.ndarray, source: Mixed) -> Counter[str]:
    return Counter(source.name(int(index)).partition("/")[0] for index in indices)


def test_an_epoch_has_every_sources_share() -> None:
    source = mixture((scenes(30), 3), (scenes(10, seed=1), 1), pictures=20)
    assert (len(source), source.pictures_per_epoch) == (40, 20)
    for epoch in range(3):
        assert num_from(source.order(7, epoch), source) == {"0": 15, "1": 5}


def test_shares_sum_exactly() -> None:
    assert share_out([1.0, 1.0, 1.0], 10) == [4, 3, 3]
    assert share_out([0.2, 0.5, 0.3], 7) == [1, 4, 2]
    assert share_out([1e-9, 1.0], 5) == [0, 5]
    assert all(sum(share_out([1.0, 2.5, 7.0, 0.1], number)) == number for number in range(1, 60))


def test_all_pictures_of_a_source_are_seen_equally_often() -> None:
    source = mixture((scenes(7), 1), (scenes(5, seed=1), 1), pictures=8)
    seen = Counter(int(index) for epoch in range(35) for index in source.order(3, epoch))
    assert [seen[index] for index in range(12)] == [20] * 7 + [28] * 5


def test_a_short_source_comes_round_within_an_epoch() -> None:
    source = mixture((scenes(3), 1), (scenes(9, seed=1), 1), pictures=18)
    seen = Counter(source.order(0, 0).tolist())
    assert [seen[index] for index in range(12)] == [3] * 3 + [1] * 9


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    source = mixture((scenes(20), 1), (scenes(20, seed=1), 2))
    again = mixture((scenes(20), 1), (scenes(20, seed=1), 2))
    orders = {tuple(source.order(seed, epoch)) for seed in range(2) for epoch in range(2)}
    assert len(orders) == 4
    np.testing.assert_array_equal(source.order(1, 5), again.order(1, 5))


def test_sources_of_one_length_are_shuffled_differently() -> None:
    source = mixture((scenes(20), 1), (scenes(20, seed=1), 1))
    order = source.order(0, 0)
    assert order[order < 20].tolist() != (order[order >= 20] - 20).tolist()


def test_turns_are_shuffled() -> None:
    source = mixture((scenes(50), 1), (scenes(50, seed=1), 1))
    number = source.order(0, 0) >= 50
    assert 30 < (number[1:] != number[:-1]).sum() < 70


def test_each_source_keeps_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is quick to read in its own order stays so."""
    source = mixture((scenes(20), 1), (scenes(20, seed=1), 1))
    for part in source._sources:
        monkeypatch.setattr(part, "order", lambda seed, epoch: np.arange(20))
    order = source.order(0, 0)
    assert order[order < 20].tolist() == list(range(20))
    assert order[order >= 20].tolist() == list(range(20, 40))


def test_classes_of_the_same_name_are_one(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", "cat", "dog")
    second = folder(tmp_path / "b", "ant", "cat", "emu")
    source = mixture((first, 1), (second, 1))
    assert source.classes == ("cat", "dog", "ant", "emu")
    names = {index: source.name(index) for index in range(len(source))}
    assert len(set(names.values())) == len(source) == 10
    for index, name in names.items():
        assert source.classes[source.label(index)] == name.split("/")[1]
        assert source.sample(index).label == source.label(index)
    assert names[0] == "0/cat/0.png"
    assert names[4] == "1/ant/0.png"


def test_pictures_are_those_of_the_sources(tmp_path: Path) -> None:
    files = folder(tmp_path, "x", "y")
    source = mixture((scenes(3), 1), (files, 1))
    alone = build_source(PARSE(files))
    for index in range(4):
        expected = alone.sample(index).picture
        np.testing.assert_array_equal(source.sample(3 + index).picture, expected)
        np.testing.assert_array_equal(source.open(3 + index).pixels(), expected)
        stored = source.stored(3 + index)
        assert stored is not None
        assert stored.content == (tmp_path / alone.name(index)).read_bytes()
    assert source.stored(0) is None
    with pytest.raises(IndexError, match="indices are 0 to 6"):
        source.sample(7)


def test_tasks_in_common_are_asked() -> None:
    source = mixture((scenes(3), 1), (scenes(3, seed=1), 1))
    assert "nearest_colour" in source.tasks
    assert source.labels(4).keys() == source.tasks.keys()
    assert source.label(4) == source.labels(4)["count"]


def test_unlabelled_pictures_stay_so(tmp_path: Path) -> None:
    source = mixture((scenes(2), 1), (folder(tmp_path, "only"), 1))
    assert source.classes == source._sources[0].classes
    assert [source.label(index) for index in (2, 3)] == [-1, -1]
    assert (source.tasks, source.labels(0)) == ({}, {})


def test_broken_pictures_are_named_by_their_source(tmp_path: Path) -> None:
    files = folder(tmp_path, "x", "y")
    (tmp_path / "x" / "0.png").write_bytes(b"no picture")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "y" / "1.jpg")
    whole = (tmp_path / "y" / "1.jpg").read_bytes()
    (tmp_path / "y" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    source = mixture((scenes(2), 1), (files, 1))
    with pytest.raises(BrokenPicture, match="not a picture") as caught:
        source.open(2)
    assert caught.value.name == "1/x/0.png"
    torn = next(i for i in range(len(source)) if source.name(i).endswith(".jpg"))
    opened = source.open(torn)  # only the pixels are missing
    for read in (opened.pixels, lambda: opened.crop((0, 0, 64, 64), (8, 8))):
        with pytest.raises(BrokenPicture) as caught:
            read()
        assert caught.value.name == "1/y/1.jpg"


def test_different_numbers_of_channels_are_refused(tmp_path: Path) -> None:
    grey = folder(tmp_path, "x", channels=1)
    with pytest.raises(ValueError, match="have 3, 1 channels: give all of them the same"):
        mixture((scenes(2), 1), (grey, 1))


def test_the_fingerprint_is_made_of_theirs() -> None:
    prints = [
        mixture((scenes(3), 1), (scenes(number, seed=1), 1)).fingerprint() for number in (3, 4, 3)
    ]
    assert prints[0] == prints[2] != prints[1]


def _draw_masks(batch_size: int, random: Any) -> MaskIndices:
    rows = torch.from_numpy((random.uniforms("masks", batch_size, 6) * 1000).astype(np.int64))
    return MaskIndices(rows[:, None, :4], rows[:, None, 4:])


def steps(source: Any, **options: Any) -> list[torch.Tensor]:
    view = RandomView(RandomView.Settings(size=8))
    options = {"seed": 3, "batch_size": 4, "total_steps": 9, **options}
    with TrainingStream(source, view, _draw_masks, **options) as stream:
        assert stream.steps_per_epoch == 3
        return [
            torch.cat([batch.indices for batch in step] + [b.views.flatten() for b in step])
            for step in stream
        ]


@pytest.mark.parametrize(("start", "num_workers"), [(1, 0), (4, 1), (8, 0)])
def test_training_resumes_at_any_step(tmp_path: Path, start: int, num_workers: int) -> None:
    source = mixture((scenes(6), 1), (folder(tmp_path, "x", "y"), 2), pictures=14)
    whole = steps(source)
    rest = steps(source, start_step=start, num_workers=num_workers)
    assert len(whole) == 9
    assert len(rest) == 9 - start
    assert all(torch.equal(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_decoded_pictures_keep_their_shares(tmp_path: Path) -> None:
    source = mixture((scenes(6), 1), (scenes(6, seed=1), 2), pictures=9)
    decoded = DecodedSource(source, tmp_path)
    assert decoded.pictures_per_epoch == 9
    np.testing.assert_array_equal(decoded.order(1, 2), source.order(1, 2))
