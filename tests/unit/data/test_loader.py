"""A batch depends on (seed, step) only: not on workers, ranks, accumulation, or resuming."""

import csv
import itertools
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections import Counter
from functools import partial

import numpy as np
import psutil
import pytest
import torch

from jepakit.core.errors import RunFailed
from jepakit.core.tensors import MaskIndices
from jepakit.data.loader import TrainingStream, evaluation_loader
from jepakit.data.sources.source import BrokenPicture, Sample, Source
from jepakit.data.views import RandomView
from jepakit.data.workers import Workers


class Noise(Source):
    """Pictures computed from their index; some are broken."""

    num_channels = 3
    classes = ("even", "odd")

    def __init__(self, num, broken=(), seconds=0.0):
        self._num = num
        self._broken = frozenset(broken)
        self._seconds = seconds

    def __len__(self):
        return self._num

    def sample(self, index):
        time.sleep(self._seconds)
        if index in self._broken:
            raise BrokenPicture(self.name(index), "torn")
        picture = np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        picture[0, 0] = index % 256
        return Sample(picture, self.name(index), self.label(index))

    def name(self, index):
        return f"noise-{index}"

    def label(self, index):
        return index % 2

    def fingerprint(self):
        return str(self._num)


def _draw_masks(batch_size, random):
    """Stands in for a `Masking`: its numbers show which random numbers it was given."""
    shared = int(random.shared("masks").integers(1000))
    rows = torch.from_numpy((random.uniforms("masks", batch_size, 6) * 1000).astype(np.int64))
    return MaskIndices(rows[:, None, :4] + shared, rows[:, None, 4:])


def _stream(num=23, source=None, **options):
    options = {"seed": 3, "batch_size": 4, "total_steps": 12, **options}
    view = RandomView(RandomView.Settings(size=8, flip=0.5))
    return TrainingStream(source or Noise(num), view, _draw_masks, **options)


def _steps(**options):
    """One dict of tensors per step, micro-batches put together again."""
    with _stream(**options) as stream:
        return [_joined(step) for step in stream]


def _joined(batches):
    return {
        "views": torch.cat([batch.views for batch in batches]),
        "labels": torch.cat([batch.labels for batch in batches]),
        "indices": torch.cat([batch.indices for batch in batches]),
        "context": torch.cat([batch.masks.context for batch in batches]),
        "targets": torch.cat([batch.masks.targets for batch in batches]),
    }


def _assert_equal(first, second):
    assert len(first) == len(second) > 0
    for left, right in zip(first, second, strict=True):
        for name in left:
            assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_change_nothing(num_workers):
    _assert_equal(_steps(num_workers=num_workers), _steps())


def test_accumulation_changes_nothing():
    with _stream(micro_batches=2) as stream:
        step = next(iter(stream))
    assert [len(batch.views) for batch in step] == [2, 2]
    _assert_equal(_steps(micro_batches=2), _steps())
    _assert_equal(_steps(micro_batches=4, num_workers=2), _steps())


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_ranks_together_see_the_global_batch(micro_batches):
    ranks = [_steps(rank=rank, world_size=2, micro_batches=micro_batches) for rank in range(2)]
    together = [
        {name: torch.cat([left[name], right[name]]) for name in left}
        for left, right in zip(*ranks, strict=True)
    ]
    _assert_equal(together, _steps())


@pytest.mark.parametrize("start", [1, 4, 5, 7, 11])  # an epoch has 5 steps
@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_gives_the_rest(start, num_workers):
    _assert_equal(_steps(start_step=start, num_workers=num_workers), _steps()[start:])


def test_every_picture_once_per_epoch_in_new_orders():
    steps = _steps(num=24)
    epochs = [torch.cat([s["indices"] for s in steps[start : start + 6]]) for start in (0, 6)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(24))
    assert epochs[0].tolist() != epochs[1].tolist() != sorted(epochs[1].tolist())
    assert _steps(num=24, seed=4)[0]["indices"].tolist() != steps[0]["indices"].tolist()


def test_an_incomplete_batch_is_left_out():
    with _stream(num=23) as stream:
        assert stream.steps_per_epoch == 5
        indices = [batch.indices for (batch,) in stream]
    assert max(Counter(torch.cat(indices[:5]).tolist()).values()) == 1
    assert len(indices) == 12


def test_labels_and_pictures_belong_together():
    for step in _steps(num=24):
        assert torch.equal(step["labels"], step["indices"] % 2)
        assert step["labels"].dtype == step["indices"].dtype == torch.int64


def test_views_of_a_picture_differ_between_epochs():
    by_index = [dict(zip(s["indices"].tolist(), s["views"], strict=True)) for s in _steps(num=4)]
    assert not torch.equal(by_index[0][2], by_index[1][2])


def test_without_an_end_it_goes_on():
    with _stream(total_steps=None) as stream:
        steps = iter(stream)
        assert len([next(steps) for _ in range(30)]) == 30


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"num": 3, "batch_size": 4}, "batch.size=3"),
        ({"num": 7, "batch_size": 8, "micro_batches": 2}, "batch.size=6"),
        ({"batch_size": 10, "world_size": 4}, "batch.size=8"),
        ({"batch_size": 6, "world_size": 2, "micro_batches": 2}, "batch.size=4"),
        ({"batch_size": 1, "world_size": 2}, "batch.size=2"),
    ],
)
def test_sizes_that_do_not_fit_say_what_to_type(options, advice):
    with pytest.raises(ValueError, match=advice):
        _stream(**options)


def test_broken_pictures_are_replaced_listed_and_the_same_everywhere(tmp_path):
    source = Noise(24, broken=[3, 17])
    options = {"source": source, "max_broken_share": 0.1, "total_steps": 12}
    expected = _steps(**options)
    for step in expected:
        assert not {3, 17} & set(step["indices"].tolist())
        assert torch.equal(step["labels"], step["indices"] % 2)
    _assert_equal(_steps(**options, num_workers=2, micro_batches=2), expected)

    file = tmp_path / "broken_pictures.csv"
    for start in (0, 6):  # the second run is a resumed one
        _steps(**options, broken_file=file, start_step=start, num_workers=1)
    with file.open() as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["name", "reason"]
    assert sorted(rows[1:]) == [["noise-17", "torn"], ["noise-3", "torn"]]


def test_replacements_differ():
    source = Noise(100, broken=range(40))
    steps = _steps(source=source, batch_size=100, total_steps=1, max_broken_share=1.0)
    assert max(Counter(steps[0]["indices"].tolist()).values()) <= 5
    assert steps[0]["indices"].min() >= 40


@pytest.mark.parametrize("num_workers", [0, 2])
def test_too_many_broken_pictures_stop_the_run(tmp_path, num_workers):
    source = Noise(100, broken=[5, 50])
    file = tmp_path / "broken.csv"
    with pytest.raises(ValueError, match=r"2 of 100 pictures.*broken\.csv.*torn.*max_broken_share"):
        _steps(source=source, total_steps=25, num_workers=num_workers, broken_file=file)
    assert len(_steps(source=source, total_steps=25, max_broken_share=0.02)) == 25


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_a_source_without_a_readable_picture_stops(share):
    with pytest.raises(ValueError, match="cannot be read"):
        _steps(source=Noise(50, broken=range(50)), max_broken_share=share, num_workers=1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_source_that_is_gone_ends_it_with_one_sentence(num_workers):
    class Gone(Noise):
        def sample(self, index):
            if index == 3:
                raise RunFailed("the disk is gone: plug it in")
            return super().sample(index)

    with (
        _stream(source=Gone(23), num_workers=num_workers) as stream,
        pytest.raises(RunFailed) as caught,
    ):
        list(itertools.islice(stream, 6))
    assert str(caught.value) == "the disk is gone: plug it in"


def test_mostly_broken_at_the_start_stops_early():
    source = Noise(100_000, broken=range(0, 100_000, 2))
    stream = _stream(source=source, batch_size=50, max_broken_share=0.4, total_steps=None)
    with stream, pytest.raises(ValueError, match="cannot be read"):
        list(itertools.islice(stream, 20))


def test_closing_is_quick_and_ends_the_workers():
    before = set(psutil.Process().children())
    stream = _stream(source=Noise(1000, seconds=0.05), batch_size=500, num_workers=2)
    workers = set(psutil.Process().children()) - before
    assert len(workers) == 2
    stream.close()
    _, alive = psutil.wait_procs(workers, timeout=4)
    assert not alive
    stream.close()  # twice is fine


def _train_until_told(ready, stderr_file, catch_sigterm):
    """Runs in a process of its own, in a session of its own."""
    os.setsid()
    sys.stderr = stderr_file.open("w", buffering=1)  # the workers inherit it
    told = []
    if catch_sigterm:
        signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    stream = _stream(source=Noise(1000, seconds=0.01), num_workers=2, total_steps=None)
    for number, _ in enumerate(stream):
        if number == 2:
            ready.send([child.pid for child in psutil.Process().children()])
        if told and number % 10 == 0:
            ready.send("went on")
            break


@pytest.mark.skipif(sys.platform != "linux", reason="process groups")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_signals(name, tmp_path):
    """Ctrl-C is quiet, SIGTERM to all lets the parent go on, SIGKILL of it ends the workers."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    stderr = tmp_path / "stderr"
    program = context.Process(target=_train_until_told, args=(there, stderr, name == "SIGTERM"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
        program.start()
    workers = [psutil.Process(pid) for pid in here.recv()]
    assert len(workers) == 2
    if name == "SIGKILL":
        program.kill()
    else:
        os.killpg(program.pid, getattr(signal, name))
    program.join(timeout=15)
    has_ended = not program.is_alive()
    program.kill()
    assert has_ended
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert not alive
    if name == "SIGINT":
        # The parent alone. (A worker may tell that it lost the parent in the middle of a transfer.)
        assert stderr.read_text().splitlines().count("KeyboardInterrupt") == 1
    if name == "SIGTERM":
        assert here.poll()
        assert (here.recv(), stderr.read_text(), program.exitcode) == ("went on", "", 0)


class _Telling(torch.utils.data.Dataset):
    """Tells an error as a thread of its process would."""

    def __getitem__(self, error):
        sys.excepthook(type(error), error, None)
        return 0


def test_a_parent_that_hangs_up_is_no_news(capfd):
    errors = [ConnectionResetError("gone"), EOFError("gone"), OSError("the disk")]
    workers = Workers(_Telling(), errors, num_workers=1)
    assert list(workers) == [0, 0, 0]
    workers.close()
    told = capfd.readouterr().err
    assert "the disk" in told
    assert "gone" not in told


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_is_in_order_without_broken_ones(num_workers):
    loader = evaluation_loader(
        Noise(30, broken=[4, *range(10, 15)]), (16, 16), range(2, 27), 5, num_workers
    )
    batches = list(loader)
    expected = [i for i in range(2, 27) if i != 4 and not 10 <= i < 15]
    assert torch.cat([indices for _, _, indices in batches]).tolist() == expected
    assert torch.cat([labels for _, labels, _ in batches]).tolist() == [i % 2 for i in expected]
    assert all(views.shape[1:] == (3, 16, 16) for views, _, _ in batches)
    assert all(views.dtype == torch.uint8 for views, _, _ in batches)
    assert set(loader.broken) == {f"noise-{i}" for i in (4, *range(10, 15))}
    assert len(list(partial(evaluation_loader, Noise(7), (8, 8), batch_size=3)())) == 3
