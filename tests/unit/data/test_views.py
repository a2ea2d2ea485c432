"""Views are drawn as torchvision draws them, resized as torchvision resizes, and lose nothing."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transforms

from jepakit.core.randomness import generator
from jepakit.data.sources.source import Pixels
from jepakit.data.views import CentreView, RandomView, centre_box, crop_and_resize, random_box


def _picture(height=60, width=80, channels=3):
    values = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, channels))
    return np.kron(values, np.ones((4, 4, 1))).astype(np.uint8)


def _view(**settings):
    return RandomView(RandomView.Settings(**settings))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("size", [32, (16, 48)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_any_channels_and_sizes(channels, size, interpolation):
    view = _view(size=size, interpolation=interpolation, flip=0.5, jitter=0.5, blur=1.0)
    result = view(Pixels(_picture(channels=channels)), generator(0, "view"))
    assert result.dtype == torch.uint8
    assert result.shape == (channels, *((32, 32) if size == 32 else size))


def test_same_randomness_same_view():
    view = _view(size=24, flip=0.5, jitter=1.0, blur=0.5)
    first, again = (view(Pixels(_picture()), generator(5, "view", 1)) for _ in range(2))
    other = view(Pixels(_picture()), generator(5, "view", 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_resizing_is_that_of_torchvision():
    picture = _picture()
    box = (5, 10, 40, 33)
    expected = transforms.resized_crop(
        torch.from_numpy(picture).permute(2, 0, 1), *box, [24, 32], antialias=True
    )
    result = crop_and_resize(Pixels(picture), box, (24, 32))
    assert (result.int() - expected.int()).abs().max() <= 1


def test_boxes_are_distributed_as_in_torchvision():
    scale, aspect, num = (0.3, 1.0), (3 / 4, 4 / 3), 4000
    random = generator(0, "boxes")
    ours = np.array([random_box((60, 80), scale, aspect, random) for _ in range(num)])
    torch.manual_seed(0)
    image = torch.zeros(1, 60, 80)
    crop = v2.RandomResizedCrop(8, scale, aspect)
    params = [crop.make_params([image]) for _ in range(num)]
    theirs = np.array([[p["top"], p["left"], p["height"], p["width"]] for p in params])
    for column in range(4):
        deciles = np.arange(0.1, 1.0, 0.1)
        gap = np.quantile(ours[:, column], deciles) - np.quantile(theirs[:, column], deciles)
        assert np.abs(gap).max() <= 2, column
    assert (ours[:, 0] + ours[:, 2]).max() == 60
    assert (ours[:, 1] + ours[:, 3]).max() == 80
    assert ours[:, :2].min() == 0


def test_area_is_uniform_and_aspect_log_uniform():
    random = generator(0, "boxes")
    boxes = np.array([random_box((200, 200), (0.1, 0.4), (0.5, 2.0), random) for _ in range(4000)])
    assert (boxes[:, :2].min(0) == 0).all()
    assert ((boxes[:, :2] + boxes[:, 2:]).max(0) == 200).all()  # the last row and column too
    area = boxes[:, 2] * boxes[:, 3] / 200**2
    log_aspect = np.log2(boxes[:, 3] / boxes[:, 2])
    quarters = np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(np.quantile(area, quarters), 0.1 + 0.3 * quarters, atol=0.015)
    np.testing.assert_allclose(np.quantile(log_aspect, quarters), 2 * quarters - 1, atol=0.07)


@pytest.mark.parametrize(
    ("picture_size", "expected"), [((20, 400), (20, 27)), ((400, 20), (27, 20)), ((1, 1), (1, 1))]
)
def test_a_crop_that_never_fits_is_taken_from_the_middle(picture_size, expected):
    top, left, height, width = random_box(
        picture_size, (0.9, 1.0), (3 / 4, 4 / 3), generator(0, "boxes")
    )
    assert (height, width) == expected
    assert (top, left) == ((picture_size[0] - height) // 2, (picture_size[1] - width) // 2)


def test_oblong_views_are_not_squashed():
    """Every crop has the shape of the view, give or take `aspect`."""
    random = generator(0, "boxes")
    view = _view(size=(16, 48), aspect=(1, 1), scale=(0.1, 0.2))
    ramp = np.tile(np.arange(240, dtype=np.uint8)[None, :, None], (240, 1, 1))
    for _ in range(20):
        row = view(Pixels(ramp), random)[0, 8].float()
        pixels_per_step = (row[40] - row[8]) / 32
        area = (pixels_per_step * 48) * (pixels_per_step * 16)
        assert 0.08 < area / 240**2 < 0.22


def test_flip():
    picture = _picture(32, 32)
    plain, flipped = (
        _view(size=32, scale=(1, 1), aspect=(1, 1), flip=flip)(
            Pixels(picture), generator(0, "view")
        )
        for flip in (0.0, 1.0)
    )
    assert torch.equal(plain, torch.from_numpy(picture).permute(2, 0, 1))
    assert torch.equal(flipped, plain.flip(-1))


def test_jitter_changes_colours_and_blur_removes_detail():
    picture = _picture(32, 32)
    whole = {"size": 32, "scale": (1, 1), "aspect": (1, 1)}
    plain = _view(**whole)(Pixels(picture), generator(0, "view")).float()
    jittered = _view(**whole, jitter=1.0)(Pixels(picture), generator(0, "view")).float()
    view = _view(**whole, blur=1.0)
    blurred = torch.stack(
        [view(Pixels(picture), generator(seed, "view")) for seed in range(8)]
    ).float()
    assert (jittered.mean((1, 2)) - plain.mean((1, 2))).abs().max() > 5
    assert blurred.diff().abs().mean() < 0.95 * plain.diff().abs().mean()
    assert (blurred.mean((2, 3)) - plain.mean((1, 2))).abs().max() < 5


def test_grey_pictures_stay_grey_under_brightness_and_contrast():
    picture = np.full((16, 16, 1), 128, np.uint8)
    values = {
        int(_view(size=16, jitter=1.0)(Pixels(picture), generator(seed, "view"))[0, 0, 0])
        for seed in range(20)
    }
    assert len(values) > 10
    assert min(values) < 90
    assert max(values) > 170


def test_read_only_pictures_are_fine():
    picture = _picture(32, 32)
    picture.setflags(write=False)
    assert (
        _view(size=32, scale=(1, 1), aspect=(1, 1))(Pixels(picture), generator(0, "v")).shape[1]
        == 32
    )
    view = CentreView(CentreView.Settings(size=32))(Pixels(picture))
    view.zero_()
    assert picture.any()


@pytest.mark.parametrize(
    "settings",
    [
        *({"scale": (0.0, 1.0)}, {"scale": (0.5, 0.4)}, {"scale": (0.5, 1.1)}),
        *({"aspect": (0, 1)}, {"size": 4}, {"flip": 1.5}, {"size": (32, 32, 32)}, {"flipp": 0.5}),
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        RandomView.Settings(**settings)


@pytest.mark.parametrize("size", [(32, 32), (20, 36)])
def test_a_picture_of_the_right_size_is_kept_whole(size):
    picture = _picture(*size)
    view = CentreView(CentreView.Settings(size=size))(Pixels(picture))
    assert torch.equal(view, torch.from_numpy(picture).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("picture_size", "size", "margin", "box"),
    [
        ((256, 256), (224, 224), 0.875, (16, 16, 224, 224)),
        ((256, 512), (224, 224), 0.875, (16, 144, 224, 224)),
        ((512, 512), (224, 224), 0.875, (32, 32, 448, 448)),
        ((512, 512), (224, 224), 1.0, (0, 0, 512, 512)),
        ((230, 300), (224, 224), 0.875, (3, 38, 224, 224)),  # not enlarged
        ((32, 48), (224, 224), 0.875, (0, 8, 32, 32)),
        ((400, 400), (100, 200), 0.5, (150, 100, 100, 200)),
    ],
)
def test_centre_boxes(picture_size, size, margin, box):
    assert centre_box(picture_size, size, margin) == box
