import pytest
import torch
from torch import Tensor, nn

from jepakit.evaluation.features import evaluating, pixel_rows, pooled_layers


def test_pooled_layers_are_averages_in_order() -> None:
    first, last = torch.randn(2, 5, 3), torch.randn(2, 5, 3).bfloat16()
    rows = pooled_layers([first, last])
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows[:, :3], first.mean(dim=1))
    torch.testing.assert_close(rows[:, 3:], last.float().mean(dim=1))


@pytest.mark.parametrize("training", [True, False])
def test_modes_come_back(training: bool) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    module.train(training)
    module[1].eval()
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert module.training == module[0].training == training
    assert not module[1].training


def test_modes_come_back_after_an_error() -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="stopped"), evaluating(module):
        raise RuntimeError("stopped")
    assert module.training


def picture(value: int, side: int = 32) -> Tensor:
    return torch.full((1, 3, side, side), value, dtype=torch.uint8)


def test_pixels_are_averages_around_grey() -> None:
    assert pixel_rows(picture(255)).unique().tolist() == [1.0]
    assert pixel_rows(picture(0)).unique().tolist() == [-1.0]
    halves = picture(0)
    halves[..., 16:] = 200
    rows = pixel_rows(halves, side=2).view(3, 2, 2)
    assert rows[:, :, 0].eq(-1).all()
    torch.testing.assert_close(rows[:, :, 1], torch.full((3, 2), 200 / 127.5 - 1))


def test_small_pictures_stay_as_they_are() -> None:
    assert pixel_rows(picture(7, side=8)).shape == (1, 3 * 8 * 8)
