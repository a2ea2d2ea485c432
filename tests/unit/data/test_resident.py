"""Views cut on the device are those cut picture by picture, to one grey level."""

import numpy as np
import pytest
import torch

from jepakit.core.randomness import generator
from jepakit.core.tensors import MaskIndices
from jepakit.data.batched_crops import crop_and_resize_batch
from jepakit.data.loader import TrainingStream
from jepakit.data.resident import ResidentPictures, ResidentStream
from jepakit.data.sources.source import BrokenPicture, Pixels, Sample, Source
from jepakit.data.views import PlannedView, RandomView, crop_and_resize, random_box


class Patterns(Source):
    """Smooth pictures of several sizes; the third is broken."""

    num_channels = 3

    def __len__(self):
        return 11

    def sample(self, index):
        if index == 2:
            raise BrokenPicture(self.name(index), "torn")
        rows, columns = np.mgrid[0 : 30 + index, 0 : 50 - index]
        planes = [np.sin(rows / (3 + index)), np.cos(columns / 5), np.sin((rows + columns) / 7)]
        pixels = np.rint(np.stack(planes, -1) * 120 + 128).astype(np.uint8)
        return Sample(pixels, self.name(index))

    def name(self, index):
        return f"pattern-{index}"

    def label(self, index):
        return -1

    def fingerprint(self):
        return "patterns"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(8, 8), (24, 40), (64, 48)])
def test_a_batch_is_cut_as_each_picture_alone(interpolation, size):
    random = generator(0, "boxes")
    pictures = np.stack([Patterns().sample(0).picture] * 9) + random.integers(
        0, 7, (9, 30, 50, 3)
    ).astype(np.uint8)
    boxes = [random_box((30, 50), (0.1, 1.0), (0.5, 2.0), random) for _ in range(9)]
    flips = torch.arange(9) % 2 == 1
    found = crop_and_resize_batch(
        torch.from_numpy(pictures).permute(0, 3, 1, 2),
        torch.tensor(boxes),
        flips,
        size,
        interpolation,
    )
    for place, (picture, box) in enumerate(zip(pictures, boxes, strict=True)):
        alone = crop_and_resize(Pixels(picture), box, size, interpolation)
        alone = alone.flip(-1) if flips[place] else alone
        assert (found[place].int() - alone.int()).abs().max() <= 1


def _masks(batch_size, random):
    rows = torch.from_numpy((random.uniforms("masks", batch_size, 4) * 100).astype(np.int64))
    return MaskIndices(rows[:, None, :2], rows[:, None, 2:])


def _stream(view):
    return TrainingStream(
        Patterns(), view, _masks, seed=3, batch_size=4, total_steps=5, max_broken_share=1.0
    )


def test_the_stream_gives_the_same_batches():
    settings = RandomView.Settings(size=16, flip=0.5)
    resident = ResidentPictures(Patterns(), settings, torch.device("cpu"))
    with _stream(RandomView(settings)) as plain, _stream(PlannedView(settings)) as plans:
        pairs = list(zip(plain, ResidentStream(plans, resident), strict=True))
    assert len(pairs) == 5
    for (one,), (other,) in pairs:
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.masks.context, other.masks.context)
        assert other.views.dtype == torch.uint8
        assert (one.views.int() - other.views.int()).abs().max() <= 1
        assert one.views.float().std() > 10


@pytest.mark.parametrize("change", [{"jitter": 0.5}, {"blur": 0.5}])
def test_other_changes_are_refused_in_one_sentence(change):
    with pytest.raises(ValueError, match="keep_decoded=true"):
        PlannedView(RandomView.Settings(size=16, **change))


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    settings = RandomView.Settings(size=16, flip=0.5)
    plans = torch.tensor([[0, 0, 20, 30, 1], [3, 4, 25, 25, 0]])
    views = [
        ResidentPictures(Patterns(), settings, torch.device(name)).views(
            torch.tensor([0, 1]), plans
        )
        for name in ("cpu", "cuda")
    ]
    assert (views[0].int() - views[1].cpu().int()).abs().max() <= 1
