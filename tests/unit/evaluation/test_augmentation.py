import numpy as np
import pytest
import torch
from pydantic import ValidationError

from jepakit.core.randomness import generator
from jepakit.data.sources.source import Pixels
from jepakit.data.views import CentreView
from jepakit.evaluation.augmentation import CropSettings, Mixing, TrainingView


def picture(channels: int = 3) -> Pixels:
    random = np.random.default_rng(0)
    return Pixels(random.integers(256, size=(20, 24, channels), dtype=np.uint8))


def test_a_view_is_a_function_of_its_generator() -> None:
    view = TrainingView(CropSettings(), (16, 16), num_ops=2)
    torch.manual_seed(1)
    first = view(picture(), generator(0, "view", 3))
    torch.manual_seed(2)
    assert torch.equal(view(picture(), generator(0, "view", 3)), first)
    others = [view(picture(), generator(0, "view", key)) for key in range(4, 8)]
    assert not any(torch.equal(other, first) for other in others)
    assert first.dtype == torch.uint8
    assert first.shape == (3, 16, 16)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    TrainingView(CropSettings(), (16, 16), num_ops=2)(picture(), generator(0, "view"))
    assert torch.equal(torch.rand(3), expected)


def test_operations_change_the_crop_and_zero_do_not() -> None:
    crops = [TrainingView(CropSettings(), (16, 16), num_ops=ops) for ops in (0, 2)]
    same = [
        torch.equal(*(crop(picture(), generator(0, "view", key)) for crop in crops))
        for key in range(20)
    ]
    assert sum(same) < 10


def test_flips_mirror() -> None:
    whole = {"scale": (1.0, 1.0)}
    views = [
        TrainingView(CropSettings(**whole, flip=flip), (20, 24))(picture(), generator(0, "view"))
        for flip in (0.0, 1.0)
    ]
    assert torch.equal(views[0].flip(-1), views[1])


def test_without_settings_the_centre() -> None:
    found = TrainingView(None, (16, 16), num_ops=2)(picture(), generator(0, "view"))
    assert torch.equal(found, CentreView(CentreView.Settings(size=(16, 16)))(picture()))


def test_five_channels_are_cropped_but_not_changed() -> None:
    assert TrainingView(CropSettings(), (16, 16))(picture(5), generator(0, "v")).shape[0] == 5
    with pytest.raises(ValueError, match="randaugment_ops=0"):
        TrainingView(CropSettings(), (16, 16), num_ops=1)(picture(5), generator(0, "v"))


def test_a_wrong_scale_is_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="low <= high"):
        CropSettings(scale=(0.9, 0.3))


def test_without_mixing_targets_are_the_labels() -> None:
    inputs = torch.rand(4, 3, 8, 8)
    mixed, targets = Mixing(0.0, 0.0, 3)(inputs, torch.tensor([0, 2, 1, 1]))
    assert torch.equal(mixed, inputs)
    assert targets.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_targets_are_the_shares_of_what_is_mixed(mixup: float, cutmix: float) -> None:
    # A picture of class k is k everywhere, so its mean tells how much of which class is in it.
    labels = torch.tensor([0, 1, 2, 3])
    inputs = labels[:, None, None, None].expand(-1, 3, 8, 8).float().clone()
    torch.manual_seed(0)
    mixed, targets = Mixing(mixup, cutmix, 4)(inputs, labels)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ torch.arange(4.0))
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    assert ((targets > 0).sum(1) == 2).all()
