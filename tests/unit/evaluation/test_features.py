import pytest
import torch
from torch import Tensor, nn

from jepakit.evaluation.features import evaluating, extract_features, pixel_features
from jepakit.models.encoder import Encoder


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    settings = Encoder.Settings(size=None, width=16, depth=5, num_heads=2, patch=4)
    return Encoder(settings, 3, (8, 12))


def pictures(num: int = 7) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    views = torch.randint(256, (num, 3, 8, 12), generator=random, dtype=torch.uint8)
    return views, torch.arange(num) - 1  # the first is unlabelled


def batches() -> list[tuple[Tensor, Tensor]]:
    views, labels = pictures()
    return list(zip(views.split(3), labels.split(3), strict=True))


def normalise(views: Tensor) -> Tensor:
    return views.float() / 127.5 - 1


def test_last_is_what_the_encoder_pools(encoder: Encoder) -> None:
    views, labels = pictures()
    features = extract_features(encoder, batches(), normalise)
    torch.testing.assert_close(features.values, encoder.pooled(normalise(views)))
    torch.testing.assert_close(features.labels, labels)


def test_last_four_are_four_averages_the_last_one_last(encoder: Encoder) -> None:
    views, _ = pictures()
    features = extract_features(encoder, batches(), normalise, pooling="last_four")
    assert features.values.shape == (7, 4 * 16)
    torch.testing.assert_close(features.values[:, -16:], encoder.pooled(normalise(views)))
    with torch.no_grad():
        tokens = encoder.blocks[0](encoder.embed(normalise(views)))
        tokens = encoder.blocks[1](tokens)
    torch.testing.assert_close(features.values[:, :16], tokens.mean(dim=1))


def test_last_four_of_two_layers_are_two() -> None:
    settings = Encoder.Settings(size=None, width=16, depth=2, num_heads=2, patch=4)
    shallow = Encoder(settings, 3, (8, 12))
    features = extract_features(shallow, batches(), normalise, pooling="last_four")
    assert features.values.shape == (7, 2 * 16)


@pytest.mark.parametrize("training", [True, False])
def test_modes_come_back(encoder: Encoder, training: bool) -> None:
    encoder.train(training)
    encoder.norm.eval()
    seen = []
    encoder.blocks.register_forward_pre_hook(lambda *_: seen.append(encoder.training))
    encoder.blocks[0].register_forward_pre_hook(lambda *_: seen.append(encoder.training))
    extract_features(encoder, batches(), normalise)
    assert seen
    assert not any(seen)
    assert encoder.training == encoder.blocks[2].mlp.training == training
    assert not encoder.norm.training


def test_modes_come_back_after_an_error() -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="stopped"), evaluating(module):
        raise RuntimeError("stopped")
    assert module.training


def test_autocast_gives_float32_close_to_the_exact(encoder: Encoder) -> None:
    exact = extract_features(encoder, batches(), normalise).values
    found = extract_features(encoder, batches(), normalise, autocast=torch.bfloat16).values
    assert found.dtype == torch.float32
    assert not found.equal(exact)
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0.05)


def test_features_can_be_trained_on(encoder: Encoder) -> None:
    values = extract_features(encoder, batches(), normalise).values
    layer = nn.Linear(16, 1)
    layer(values).sum().backward()  # refused for tensors made in inference mode
    assert layer.weight.grad is not None


def test_progress_counts_pictures(encoder: Encoder) -> None:
    counts: list[int] = []
    extract_features(encoder, batches(), normalise, progress=counts.append)
    assert counts == [3, 6, 7]


def test_no_pictures_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        extract_features(encoder, [], normalise)


def test_pixels_are_averaged_to_at_most_the_size() -> None:
    views = torch.zeros(2, 3, 8, 2, dtype=torch.uint8)
    views[0, 0, :2] = 255  # the upper half of the first of four averages down the picture
    labels = torch.tensor([4, 5])
    features = pixel_features([(views, labels)], size=4)
    assert features.values.shape == (2, 3 * 4 * 2)
    assert features.values[0, :2].tolist() == [1.0, 1.0]
    assert features.values[0, 2:].unique().tolist() == [-1.0]
    torch.testing.assert_close(features.labels, labels)


def test_pixels_are_means_not_samples() -> None:
    views = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    views[0, 0, ::2] = 255  # stripes
    features = pixel_features([(views, torch.tensor([0]))], size=2)
    torch.testing.assert_close(features.values, torch.zeros(1, 4))
