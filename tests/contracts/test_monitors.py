import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch
from jepakit.masking.multiblock import MultiBlock
from jepakit.models.encoder import Encoder
from jepakit.models.predictor import Predictor
from jepakit.objectives.ijepa import IJepa
from jepakit.training.monitors import MONITORS, FeatureCache, Monitor, ProbePictures, Snapshot


class Normalise(nn.Module):
    def forward(self, views):
        return views.float() / 64 - 2


def objective() -> IJepa:
    torch.manual_seed(0)
    encoder = Encoder(
        Encoder.Settings(size=None, width=16, depth=1, num_heads=2, patch=4), 3, (16, 16)
    )
    predictor = Predictor(Predictor.Settings(width=8, depth=1), encoder)
    return IJepa(IJepa.Settings(), encoder, predictor)


def probe(num_classes: int = 2, enlarged: bool = False) -> ProbePictures:
    generator = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (30, 3, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.arange(30) % 2 if num_classes else torch.full((30,), -1)
    seen = F.interpolate(views, size=(24, 20)) if enlarged else views
    parts = (seen[:20], labels[:20], seen[20:], labels[20:])
    return ProbePictures(*parts, num_classes, Normalise(), views[:9] if enlarged else None)


def masking() -> MultiBlock:
    return MultiBlock(MultiBlock.Settings(), (4, 4))


def snapshot(step: int = 10) -> Snapshot:
    networks = objective()
    views = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    masks = masking()(6, BatchRandom(0, step))
    batch = Batch(views, masks, torch.full((6,), -1), torch.arange(6))
    output = networks(batch)
    return Snapshot(
        step=step,
        progress=0.5,
        objective=networks.eval(),
        batch=batch,
        output=output,
        gradient_norm=torch.tensor(2.0),
        images_per_second=100.0,
        data_wait=0.01,
        device="cpu",
    )


def build(name: str, num_classes: int = 2, enlarged: bool = False, **settings) -> Monitor:
    kind = MONITORS[name]
    cache = FeatureCache(probe(num_classes, enlarged), chunk=7)
    given = {
        "collapse": {"features": cache, "masking": masking()},
        "position_collapse": {"probe": cache.probe, "masking": masking()},
        "online_probe": {"features": cache},
        "throughput": {"flops_per_image": 1e6, "peak": 1e9, "num_workers": 1},
    }
    return kind(kind.Settings(**settings), **given.get(name, {}))


def observe(monitor: Monitor, seen: Snapshot) -> dict[str, float]:
    with torch.no_grad():
        return monitor.observe(seen)


names = pytest.mark.parametrize("name", MONITORS)


@names
def test_numbers_are_named_finite_floats(name):
    monitor = build(name)
    observe(monitor, snapshot())
    numbers = observe(monitor, snapshot(20))
    assert numbers
    for key, value in numbers.items():
        assert "/" in key
        assert type(value) is float
        assert math.isfinite(value)


@names
def test_pictures_may_be_judged_at_another_size_than_that_of_the_masks(name):
    number = {"collapse": "lidar_pictures", "position_collapse": "num_pictures"}.get(name)
    few = {number: 9} if number else {}
    monitor, usual = build(name, enlarged=True, **few), build(name, **few)
    for step in (10, 20):
        numbers, before = observe(monitor, snapshot(step)), observe(usual, snapshot(step))
    assert numbers.keys() == before.keys()
    judged = {
        "collapse/rankme",
        "collapse/deviation",
        "collapse/cosine",
        "probe/knn",
        "probe/linear",
    }
    changed = {key for key, value in numbers.items() if value != before[key]}
    assert changed <= judged
    assert changed or not judged & numbers.keys()


@names
def test_looking_changes_nothing(name):
    monitor, seen = build(name), snapshot()
    seen.objective.predictor.train()  # a mode of its own has to survive
    before = {key: value.clone() for key, value in seen.objective.state_dict().items()}
    modes = [part.training for part in seen.objective.modules()]
    gradients = [weight.grad for weight in seen.objective.parameters()]
    random = torch.get_rng_state()
    monitor.warnings(observe(monitor, seen))
    assert torch.equal(random, torch.get_rng_state())
    assert modes == [part.training for part in seen.objective.modules()]
    assert gradients == [weight.grad for weight in seen.objective.parameters()]
    after = seen.objective.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@names
def test_the_same_snapshot_gives_the_same_numbers(name):
    first, second = build(name), build(name)
    for step in (10, 20):
        assert observe(first, snapshot(step)) == observe(second, snapshot(step))


@names
def test_settings_hold_every_and_are_closed(name):
    kind = MONITORS[name]
    assert build(name, every=0).every == 0
    assert kind.Settings().every > 0
    with pytest.raises(ValidationError):
        kind.Settings(every=-1)
    with pytest.raises(ValidationError):
        kind.Settings(unknown=1)
    with pytest.raises(ValidationError):
        kind.Settings().every = 3
    assert all(field.description for field in kind.Settings.model_fields.values())


@names
def test_unlabelled_pictures_do(name):
    monitor = build(name, num_classes=0)
    observe(monitor, snapshot())
    numbers = observe(monitor, snapshot(20))
    assert bool(numbers) == (name != "online_probe")
    assert all(isinstance(sentence, str) for sentence in monitor.warnings(numbers))


@names
def test_numbers_survive_bf16(name):
    monitor = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        observe(monitor, snapshot())
        numbers = observe(monitor, snapshot(20))
    assert all(math.isfinite(value) for value in numbers.values())
