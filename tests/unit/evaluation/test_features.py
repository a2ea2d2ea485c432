import pytest
import torch
from torch import Tensor, nn

from jepakit.evaluation.features import Reading, evaluating, pixel_rows
from jepakit.models.backbone import Backbone


class Layers(Backbone):
    """Its layers are given."""

    def __init__(self, *layers: Tensor) -> None:
        super().__init__()
        self.layers, self.depth, self.width = list(layers), len(layers), layers[0].shape[-1]
        self.patch = (4, 4)

    def last_layers(self, views: Tensor, num_layers: int) -> list[Tensor]:
        return self.layers[-num_layers:]

    def parameters_by_depth(self) -> list[list[nn.Parameter]]:
        return []


def test_what_is_read_is_pooled_layers_in_the_order_asked_for() -> None:
    first, last = torch.randn(2, 6, 3), torch.randn(2, 6, 3).bfloat16()
    backbone, inputs = Layers(torch.randn(2, 6, 3), first, last), torch.zeros(2, 3, 8, 12)
    rows = Reading((-2, -1))(backbone, inputs)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows[:, :3], first.mean(dim=1))
    torch.testing.assert_close(rows[:, 3:], last.float().mean(dim=1))
    turned = Reading((2, 1), "max")(backbone, inputs)
    torch.testing.assert_close(turned[:, 3:], first.amax(dim=1))
    tokens = Reading((-1,), "none")
    torch.testing.assert_close(tokens(backbone, inputs), last.float())
    assert tokens.shape(backbone, (8, 12)) == (2, 3, 3)
    assert Reading((0, 1)).shape(backbone, (8, 12)) == (6,)


@pytest.mark.parametrize("layers", [(3,), (-4,)])
def test_a_layer_that_is_not_there(layers: tuple[int, ...]) -> None:
    tokens = torch.zeros(1, 1, 4)
    with pytest.raises(ValueError, match="this encoder has 3, counted from 0 to 2, or from -1"):
        Reading(layers)(Layers(tokens, tokens, tokens), torch.zeros(1, 3, 4, 4))


def test_readings_that_mean_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Reading(())
    with pytest.raises(ValueError, match="pool='cls' is not one of mean, max, none"):
        Reading(pool="cls")


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
