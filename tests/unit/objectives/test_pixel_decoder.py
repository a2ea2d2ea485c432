"""What the pixel decoder cuts out, adds noise to, and is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from jepakit.core.tensors import Batch, MaskIndices
from jepakit.models import Encoder, Predictor
from jepakit.models.denoiser import Block, Denoiser, cut_out, place_of
from jepakit.models.diffusion import build_sampler, signal_shares
from jepakit.objectives.pixel_decoder import PixelDecoder

TINY: dict[str, Any] = {"size": 8, "widths": (8, 16), "num_blocks": 1}
HIDDEN = torch.tensor([[5, 6, 9, 10], [0, 1, 4, 5]])  # 2 x 2 of a 4 x 4 grid


def decoder(**settings: Any) -> PixelDecoder:
    torch.manual_seed(0)
    architecture = Encoder.Settings(size=None, width=16, depth=1, num_heads=2, patch=4)
    encoder = Encoder(architecture, 3, (16, 16))
    predictor = Predictor(Predictor.Settings(width=8, depth=1), encoder)
    return PixelDecoder(PixelDecoder.Settings(**(TINY | settings)), encoder, predictor)


def block(tokens: torch.Tensor | None = None) -> Block:
    given = torch.randn(2, 4, 16) if tokens is None else tokens
    return Block(given, torch.zeros(2, dtype=torch.long), *place_of(HIDDEN, (4, 4)))


def test_the_place_is_the_box_around_the_tokens() -> None:
    box, within = place_of(HIDDEN, (4, 4))
    assert box.tolist() == [[0.25, 0.25, 0.75, 0.75], [0, 0, 0.5, 0.5]]
    assert within[0].tolist() == [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]


def test_a_block_at_its_own_size_is_cut_out_exactly() -> None:
    views = torch.randn(2, 3, 16, 16)
    box, _ = place_of(HIDDEN, (4, 4))
    found = cut_out(views, box, 8)
    torch.testing.assert_close(found[0], views[0, :, 4:12, 4:12])
    torch.testing.assert_close(found[1], views[1, :, :8, :8])


@pytest.mark.parametrize("condition", ["pooled", "tokens"])
@pytest.mark.parametrize("decodes", ["block", "view"])
def test_what_is_dropped_is_not_told_and_the_place_is(condition: str, decodes: str) -> None:
    denoiser = decoder(condition=condition, decodes=decodes).denoiser.eval()
    noisy, level = torch.randn(2, 3, 8, 8), torch.tensor([3, 700])
    every, none = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    one, other = block(), block()
    assert denoiser(noisy, level, one, none).shape == noisy.shape
    told_apart = (denoiser(noisy, level, one, none) - denoiser(noisy, level, other, none)).abs()
    assert told_apart.flatten(1).amax(1).min() > 1e-5
    torch.testing.assert_close(
        denoiser(noisy, level, one, every), denoiser(noisy, level, other, every)
    )
    moved = Block(one.tokens, one.voice, one.box.flip(0), one.within)
    apart = denoiser(noisy, level, one, every) - denoiser(noisy, level, moved, every)
    assert apart.abs().flatten(1).amax(1).min() > 1e-5


def test_only_direction_of_a_representation_is_told() -> None:
    denoiser: Denoiser = decoder().denoiser.eval()
    noisy, level, none = torch.randn(2, 3, 8, 8), torch.tensor([3, 700]), torch.zeros(2).bool()
    tokens = torch.randn(2, 4, 16)
    torch.testing.assert_close(
        denoiser(noisy, level, block(tokens), none),
        denoiser(noisy, level, block(50 * tokens), none),
        rtol=1e-3,
        atol=1e-4,
    )


def test_the_prediction_is_the_predictors_for_the_context_alone() -> None:
    objective = decoder()
    views = torch.randn(2, 3, 16, 16)
    batch = batch_of(views)
    context = batch.masks.context
    found = objective.told_by("predicted", batch, HIDDEN)
    seen = objective.context_encoder(views, context[:, 0])[:, None]
    expected = objective.predictor(seen, context, HIDDEN[:, None])[:, 0, 0]
    torch.testing.assert_close(found, expected)
    views[:, :, 4:12] += 1  # rows 1 and 2 of the grid, which the contexts do not hold
    torch.testing.assert_close(objective.told_by("predicted", batch, HIDDEN), expected)


ALL: Any = ("predicted", "target", "untrained")


def batch_of(views: torch.Tensor) -> Batch:
    context = torch.tensor([[[0, 1, 2, 3]], [[12, 13, 14, 15]]])
    return Batch(views, MaskIndices(context, HIDDEN[:, None]), torch.arange(2), torch.arange(2))


def test_every_picture_hears_the_voice_that_was_drawn_for_it() -> None:
    objective = decoder(told=ALL)
    with torch.no_grad():  # as weights are loaded, after it was built
        for network in (objective.context_encoder, objective.predictor, objective.target_encoder):
            for weight in network.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    batch = batch_of(torch.randn(2, 3, 16, 16))
    told = {source: objective.told_by(source, batch, HIDDEN) for source in ALL}
    found = objective.heard(batch, HIDDEN, torch.tensor([2, 1]))
    torch.testing.assert_close(found[0], told["untrained"][0])
    torch.testing.assert_close(found[1], told["target"][1])
    assert len({round(float(tokens.sum()), 3) for tokens in told.values()}) == 3
    whole = torch.nn.functional.layer_norm(objective.target_encoder(batch.views), (16,))
    torch.testing.assert_close(told["target"][1], whole[1, HIDDEN[1]])


def test_the_denoiser_hears_each_picture_in_the_voice_of_its_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = decoder(told=ALL, drop=0.0)
    heard: list[Block] = []
    usual = objective.denoiser.forward
    spy = lambda *given: (heard.append(given[2]), usual(*given))[1]  # noqa: E731
    monkeypatch.setattr(objective.denoiser, "forward", spy)
    batch = batch_of(torch.randn(2, 3, 16, 16))
    told = [objective.told_by(source, batch, HIDDEN) for source in ALL]
    for seed in range(8):
        torch.manual_seed(seed)
        objective(batch)
    voices = torch.stack([block.voice for block in heard])
    assert set(voices.flatten().tolist()) == {0, 1, 2}
    for block in heard:
        for picture, voice in enumerate(block.voice.tolist()):
            torch.testing.assert_close(block.tokens[picture], told[voice][picture])


def test_all_voices_are_drawn_and_every_one_has_its_own_map() -> None:
    objective = decoder(told=ALL, drop=0.0)
    many = torch.arange(600)
    batch = Batch(
        torch.zeros(600, 3, 16, 16),
        MaskIndices(torch.zeros(600, 1, 4).long(), HIDDEN[:1, None].expand(600, 2, 4)),
        many,
        many,
    )
    _, voice, _, _ = objective._draw(torch.tensor(5), batch)
    assert all(abs(int((voice == n).sum()) - 200) < 60 for n in range(3))
    denoiser = objective.denoiser.eval()
    noisy, level, none = torch.randn(2, 3, 8, 8), torch.tensor([3, 700]), torch.zeros(2).bool()
    tokens = torch.randn(2, 4, 16)
    heard = [
        denoiser(noisy, level, Block(tokens, torch.full((2,), n), *place_of(HIDDEN, (4, 4))), none)
        for n in range(3)
    ]
    assert all((heard[n] - heard[n - 1]).abs().max() > 1e-5 for n in range(3))


def test_untrained_networks_stay_as_they_began() -> None:
    assert "untrained_encoder" not in dict(decoder().named_children())
    objective = decoder(told=ALL)
    before = objective.untrained_encoder.patch_embed.proj.weight.clone()
    with torch.no_grad():
        objective.context_encoder.patch_embed.proj.weight.zero_()
    assert torch.equal(objective.untrained_encoder.patch_embed.proj.weight, before)
    assert not any(p.requires_grad for p in objective.untrained_predictor.parameters())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"ema": (0.5, 1.5)}, r"objective.ema=\[0.5, 1.5\] must lie in \[0, 1\]"),
        ({"told": ("target", "target")}, r"objective.told=\['target', 'target'\] names one twice"),
        ({"size": 9}, "set objective.size=8"),
        ({"widths": (8, 12)}, "must be multiples of 8"),
    ],
)
def test_mistakes_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        decoder(**settings)


@pytest.mark.parametrize("kind", ["ancestral", "ddim", "fast"])
@pytest.mark.parametrize("predicts", ["v", "noise"])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_samplers_find_the_picture_that_a_perfect_denoiser_knows(
    kind: Any, predicts: Any, schedule: Any
) -> None:
    """With the exact answer for one known picture every sampler must end there."""
    picture = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)
    signal = signal_shares(schedule, 1000)
    sampler = build_sampler(kind, schedule, predicts, 1000, 20, largest=2.0)
    pixels = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in sampler.timesteps:
        kept, lost = signal[step].sqrt(), (1 - signal[step]).sqrt()
        noise = (pixels - kept * picture) / lost
        answer = noise if predicts == "noise" else kept * noise - lost * picture
        pixels = sampler.step(answer, step, pixels).prev_sample
    assert (pixels - picture).abs().max() < 0.05
