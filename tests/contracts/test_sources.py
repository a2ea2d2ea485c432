"""What every source of pictures promises, checked on each of them."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream
from jepakit.data.sources import SourceSettings, build_source
from jepakit.data.sources.decoding import Decoding
from jepakit.data.sources.source import BrokenPicture
from jepakit.data.views import RandomView

_PARSE = TypeAdapter(SourceSettings).validate_python


def _indices(source):
    return [0, 1, 2, len(source) - 1]


def test_the_same_index_gives_the_same_sample(source):
    for index in _indices(source):
        first, again = source.sample(index), source.sample(index)
        np.testing.assert_array_equal(first.picture, again.picture)
        assert (first.name, first.label) == (again.name, again.label)


def test_pictures_are_uint8_with_the_stated_channels(source):
    for index in _indices(source):
        picture = source.sample(index).picture
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == source.num_channels
        assert picture.std() > 0


def test_different_indices_are_different_pictures(source):
    first, second = source.sample(0), source.sample(1)
    assert first.name != second.name
    assert not np.array_equal(first.picture, second.picture)


def test_names_and_labels_are_known_without_decoding(source):
    for index in _indices(source):
        sample = source.sample(index)
        assert (sample.name, sample.label) == (source.name(index), source.label(index))
        assert -1 <= sample.label < max(1, len(source.classes))
    assert len({source.name(index) for index in _indices(source)}) == 4


def test_answers_are_places_in_the_classes_of_the_tasks(source):
    for index in _indices(source):
        answers = source.labels(index)
        assert answers.keys() >= source.tasks.keys()
        assert all(0 <= answers[task] < len(classes) for task, classes in source.tasks.items())
        assert all(isinstance(answers[task], int) for task in source.tasks)
        assert all(
            isinstance(answers[name], float) for name in answers.keys() - source.tasks.keys()
        )


def test_it_travels_to_other_processes(source):
    sent = pickle.loads(pickle.dumps(source))
    assert len(sent) == len(source)
    assert sent.classes == source.classes
    assert sent.fingerprint() == source.fingerprint()
    np.testing.assert_array_equal(sent.sample(2).picture, source.sample(2).picture)


def test_samples_can_be_written_on(source):
    before = source.sample(0).picture.copy()
    source.sample(0).picture[:] = 7
    np.testing.assert_array_equal(source.sample(0).picture, before)


def _no_masks(batch_size, random):
    nothing = torch.zeros((batch_size, 1, 0), dtype=torch.int64)
    return MaskIndices(nothing, nothing)


def _steps(source, **options):
    view = RandomView(RandomView.Settings(size=8))
    batch_size = min(8, source.pictures_per_epoch // 2 // 2 * 2)
    with TrainingStream(source, view, _no_masks, seed=0, batch_size=batch_size, **options) as steps:
        return [batch for (batch,) in itertools.islice(steps, 4 - options.get("start_step", 0))]


def test_ranks_share_an_epoch_and_resuming_goes_on_at_the_very_picture(source):
    whole = _steps(source)
    ranks = [_steps(source, rank=rank, world_size=2) for rank in range(2)]
    for step, halves in zip(whole, zip(*ranks, strict=True), strict=True):
        assert torch.equal(step.views, torch.cat([half.views for half in halves]))
        assert torch.equal(step.indices, torch.cat([half.indices for half in halves]))
    for before, again in zip(whole[3:], _steps(source, start_step=3), strict=True):
        assert torch.equal(before.views, again.views)


def test_an_epoch_names_as_many_pictures_as_it_says_in_a_new_order(source):
    first, again, second = source.order(3, 0), source.order(3, 0), source.order(3, 1)
    assert len(first) == source.pictures_per_epoch
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert first.min() >= 0
    assert first.max() < len(source)


def test_opened_pictures_know_their_size(source):
    for index in _indices(source):
        opened = source.open(index)
        pixels = source.sample(index).picture
        assert opened.size == pixels.shape[:2]
        np.testing.assert_array_equal(opened.pixels(), pixels)
        np.testing.assert_array_equal(opened.crop((1, 2, 5, 6), (8, 8)), pixels[1:6, 2:8])


def test_a_new_file_changes_the_fingerprint(tmp_path):
    settings = _PARSE({"kind": "folder", "path": tmp_path, "index_cache": False})
    for number in range(2):
        (tmp_path / f"class-{number}").mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / f"class-{number}" / "old.png")
    before = build_source(settings).fingerprint()
    assert build_source(settings).fingerprint() == before
    Image.new("RGB", (8, 8)).save(tmp_path / "class-0" / "new.png")
    assert build_source(settings).fingerprint() != before


def test_other_values_are_another_fingerprint(source):
    how = getattr(source, "settings", None)
    if not isinstance(how, Decoding):
        pytest.skip("its pictures have no stored values")
    other = copy.copy(source)
    other.settings = how.model_copy(update={"values": (0.0, 9000.0)})
    assert other.fingerprint() != source.fingerprint()
    other.settings = how.model_copy(update={"values": None})
    assert other.fingerprint() == source.fingerprint()


def test_unknown_kinds_are_refused():
    with pytest.raises(ValidationError, match="folder"):
        _PARSE({"kind": "foldr", "path": "."})


def test_broken_pictures_cross_process_borders():
    error = pickle.loads(pickle.dumps(BrokenPicture("a.png", "torn")))
    assert (error.name, error.reason) == ("a.png", "torn")
