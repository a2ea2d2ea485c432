"""Each monitor speaks of what is wrong, with the number, and is silent otherwise."""

import pytest
import torch
from torch import nn

from jepakit.core.randomness import BatchRandom
from jepakit.core.tensors import Batch, MaskIndices
from jepakit.masking.masking import Masking
from jepakit.masking.multiblock import MultiBlock
from jepakit.models.encoder import Encoder
from jepakit.models.predictor import Predictor
from jepakit.objectives.ijepa import IJepa
from jepakit.objectives.objective import StepOutput
from jepakit.training.monitors import FeatureCache, ProbePictures, Snapshot
from jepakit.training.monitors.advice import against_collapse
from jepakit.training.monitors.collapse import Collapse
from jepakit.training.monitors.gradients import Gradients
from jepakit.training.monitors.masks import Masks, presence
from jepakit.training.monitors.online_probe import (
    STRENGTHS,
    OnlineProbe,
    linear_classes,
    ridge_weights,
)
from jepakit.training.monitors.position_collapse import PositionCollapse
from jepakit.training.monitors.target_distance import TargetDistance
from jepakit.training.monitors.throughput import Throughput


class Centre(nn.Module):
    def forward(self, views):
        return views.float() / 64 - 2


def objective() -> IJepa:
    torch.manual_seed(0)
    encoder = Encoder(
        Encoder.Settings(size=None, width=16, depth=1, num_heads=2, patch=4), 3, (16, 16)
    )
    predictor = Predictor(Predictor.Settings(width=8, depth=1), encoder)
    networks = IJepa(IJepa.Settings(), encoder, predictor).eval()
    for each in (networks.context_encoder, networks.target_encoder):
        make_linear(each)
    return networks


def make_linear(encoder: Encoder) -> None:
    """Leave patches and positions only: a healthy encoder of whatever the pictures hold."""
    encoder.blocks.forward = lambda tokens: tokens
    encoder.patch_embed.proj.weight.data.normal_(generator=torch.Generator().manual_seed(3))


def blind(networks: IJepa) -> IJepa:
    """An objective whose features ignore the picture."""
    for encoder in (networks.context_encoder, networks.target_encoder):
        encoder.patch_embed.proj.weight.data.zero_()
    return networks


def probe(num_test: int = 40, kept_labels: bool = True) -> ProbePictures:
    """Two classes of noise: bright pictures and dark ones."""
    count = 60 + num_test
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    noise = torch.randint(0, 200, (count, 3, 1, 1), generator=generator)
    noise = noise + torch.randint(0, 25, (count, 3, 16, 16), generator=generator)
    views = (noise + 30 * labels[:, None, None, None]).to(torch.uint8)
    shown = labels if kept_labels else torch.full_like(labels, -1)
    return ProbePictures(views[:60], shown[:60], views[60:], shown[60:], 2, Centre())


def snapshot(networks: IJepa, step: int = 100, progress: float = 0.5, **facts) -> Snapshot:
    masks = facts.pop("masks", None) or multiblock()(8, BatchRandom(0, step))
    batch = Batch(torch.zeros(8, 3, 16, 16), masks, torch.full((8,), -1), torch.arange(8))
    facts = {"gradient_norm": torch.tensor(1.0), "images_per_second": 50.0} | facts
    return Snapshot(
        step=step,
        progress=progress,
        objective=networks,
        batch=batch,
        output=StepOutput(torch.tensor(1.0)),
        data_wait=facts.pop("data_wait", 0.0),
        device="cpu",
        **facts,
    )


def multiblock() -> Masking:
    return MultiBlock(MultiBlock.Settings(), (4, 4))


def sentences(monitor, seen: Snapshot) -> list[str]:
    with torch.no_grad():
        return monitor.warnings(monitor.observe(seen))


def collapse(**settings) -> Collapse:
    cache = FeatureCache(probe(), chunk=16)
    return Collapse(Collapse.Settings(**settings), cache, multiblock())


def test_a_collapsed_encoder_is_named_with_number_and_remedy():
    (sentence,) = sentences(collapse(), snapshot(blind(objective())))
    assert "collapsing: RankMe is 1.0 of 16" in sentence
    assert "objective.regulariser.kind=vicreg" in sentence


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ({"ema": (0.97, 1.0)}, ["kind=vicreg", "objective.ema=[0.99,1]"], ["weight=0.2"]),
        (
            {"regulariser": {"kind": "vicreg", "weight": 0.1}},
            ["objective.regulariser.weight=0.2"],
            ["kind=vicreg", "objective.ema"],
        ),
    ],
)
def test_advice_proposes_only_what_is_not_done_already(settings, said, unsaid):
    plain = objective()
    chosen = IJepa.Settings.model_validate(settings)
    sentence = against_collapse(IJepa(chosen, plain.context_encoder, plain.predictor))
    assert all(words in sentence for words in [*said, "optimization.lr"])
    assert not any(words in sentence for words in unsaid)


def test_a_healthy_encoder_is_not_spoken_of():
    assert sentences(collapse(), snapshot(objective())) == []


def test_patience_at_the_beginning():
    monitor = collapse(patience=0.1)
    assert sentences(monitor, snapshot(blind(objective()), progress=0.05)) == []
    assert sentences(monitor, snapshot(blind(objective()), step=200, progress=0.2))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"collapse/cosine": 0.97}, "their cosine is 0.970"),
        ({"collapse/deviation": 0.001}, "deviation is 0.001"),
        ({"collapse/rankme": 7.0}, "few of their dimensions: RankMe is 7.0 of 100"),
        ({"collapse/rankme": 20.0}, "losing dimensions: RankMe is 20.0 of 100, after 60.0"),
    ],
)
def test_each_sign_of_collapse(changed, said):
    monitor = collapse()
    monitor._highest_possible, monitor._best_rank = 100, 60.0
    healthy = {"collapse/cosine": 0.5, "collapse/deviation": 0.3, "collapse/rankme": 55.0}
    assert monitor.warnings(healthy) == []
    (sentence,) = monitor.warnings(healthy | changed)
    assert said in sentence


def test_lidar_is_left_out_without_masks_and_bounded_with_them():
    seen = snapshot(objective())
    monitor = collapse(lidar_pictures=5)
    with torch.no_grad():
        assert 1 <= monitor.observe(seen)["collapse/lidar"] <= 4.01
        bare = Collapse(Collapse.Settings(), monitor.features).observe(seen)
    assert "collapse/lidar" not in bare


def test_lidar_looks_through_the_same_different_masks_each_time():
    networks, monitor = objective(), collapse(lidar_pictures=20, lidar_views=3)
    seen = []
    networks.context_encoder.register_forward_pre_hook(lambda _m, args: seen.append(args[1]))
    for step in (1, 2):
        sentences(monitor, snapshot(networks, step=step))
    drawn = [multiblock()(n, BatchRandom(0, v, f)) for f, n in ((0, 16), (16, 4)) for v in range(3)]
    assert all(torch.equal(a, b.context[:, 0]) for a, b in zip(seen, drawn * 2, strict=True))
    assert seen[0].shape != seen[1].shape or not torch.equal(seen[0], seen[1])


def test_features_are_computed_once_per_step_in_chunks():
    networks, cache = objective(), FeatureCache(probe(), chunk=16)
    sizes = []
    networks.target_encoder.register_forward_hook(lambda _m, args, _o: sizes.append(len(args[0])))
    first = cache.at(snapshot(networks, step=1))
    assert cache.at(snapshot(networks, step=1)) is first
    assert sizes == [16, 16, 16, 12, 16, 16, 8]
    assert cache.at(snapshot(networks, step=2)) is not first
    whole = networks.target_encoder.pooled(Centre()(cache.probe.test_views))
    assert torch.allclose(first.test, whole, atol=1e-5)


def test_positional_collapse_is_named():
    monitor = PositionCollapse(PositionCollapse.Settings(patience=0.1), probe(), multiblock())
    assert sentences(monitor, snapshot(blind(objective()), progress=0.05)) == []
    (sentence,) = sentences(monitor, snapshot(blind(objective())))
    assert "only 0.000 closer" in sentence
    assert "explains 100 % of the targets" in sentence
    assert monitor.warnings({"position/gap": 0.3, "position/share": 0.2}) == []


def test_position_numbers_of_a_predictor_that_sees_everything():
    networks = objective()

    def oracle(batch: Batch) -> torch.Tensor:
        pictures = torch.arange(len(batch.views))[:, None, None]
        return networks.targets(batch.views)[pictures, batch.masks.targets][:, None]

    networks.predict = oracle
    monitor = PositionCollapse(PositionCollapse.Settings(), probe(), multiblock())
    with torch.no_grad():
        numbers = monitor.observe(snapshot(networks))
    assert numbers["position/own_cosine"] == pytest.approx(1)
    assert numbers["position/gap"] > 0.3
    assert numbers["position/share"] < 0.2
    assert monitor.warnings(numbers) == []


def test_a_handful_of_steps_is_no_collapse():
    monitors = (
        Collapse(Collapse.Settings(), FeatureCache(probe())),
        PositionCollapse(PositionCollapse.Settings(), probe(), multiblock()),
    )
    for monitor in monitors:
        assert sentences(monitor, snapshot(blind(objective()), step=99)) == []
        assert sentences(monitor, snapshot(blind(objective()), step=100)) != []


def test_probe_reads_labels_and_warns_when_it_forgets_them():
    monitor = OnlineProbe(OnlineProbe.Settings(), FeatureCache(probe(200), chunk=64))
    with torch.no_grad():
        first = monitor.observe(snapshot(objective(), step=1))
    assert first["probe/linear"] > 0.55
    assert monitor.warnings(first) == []
    monitor._best = {"probe/knn": 0.9, "probe/linear": 0.9}
    found = sentences(monitor, snapshot(blind(objective()), step=2))
    assert len(found) == 2
    assert "k-NN accuracy on the probe pictures fell from 90 %" in found[0]


def test_probe_of_separable_features_is_right_and_of_noise_at_chance():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    one_hot = nn.functional.one_hot(labels, 3)
    noise = torch.randn(120, 10, generator=generator)
    clear = noise.clone()
    clear[:, :3] += 8 * one_hot
    right = (linear_classes(clear[:60], one_hot[:60], clear[60:]) == labels[60:]).float().mean()
    chance = (linear_classes(noise[:60], one_hot[:60], noise[60:]) == labels[60:]).float().mean()
    assert right == 1
    assert chance < 0.55


def test_probe_chooses_the_strength_that_predicts_the_picture_left_out():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(24, 30, generator=generator).double()
    wanted = features[:, :1] + torch.randn(24, 1, generator=generator).double()
    kernel = features @ features.T / 30

    def error_without(picture: int, strength: float) -> float:
        seen = torch.arange(24) != picture
        ridge = kernel[seen][:, seen] + strength * torch.eye(23)
        predicted = kernel[picture, seen] @ torch.linalg.solve(ridge, wanted[seen])
        return (predicted - wanted[picture]).square().item()

    errors = {s: sum(error_without(picture, s) for picture in range(24)) for s in STRENGTHS}
    alpha, strength = ridge_weights(kernel, wanted)
    assert strength == min(errors, key=errors.get)
    assert min(STRENGTHS) < strength < max(STRENGTHS)
    assert torch.allclose(kernel @ alpha + strength * alpha, wanted)


def test_probe_leaves_unlabelled_pictures_out():
    pictures = probe()
    pictures.train_labels[:50] = -1
    pictures.test_labels[:30] = -1
    monitor = OnlineProbe(OnlineProbe.Settings(), FeatureCache(pictures))
    with torch.no_grad():
        numbers = monitor.observe(snapshot(objective()))
    assert all(round(share * 10, 9).is_integer() for share in numbers.values())
    silent = OnlineProbe(OnlineProbe.Settings(), FeatureCache(probe(kept_labels=False)))
    assert silent.observe(snapshot(objective())) == {}


def test_presence_counts_pictures_not_blocks():
    indices = torch.tensor([[[0, 1], [1, 2]], [[2, 3], [2, 3]]])
    assert presence(indices, 5).tolist() == [0.5, 0.5, 1.0, 0.5, 0.0]


def test_masks_measures_rows_and_columns_over_all_batches():
    top = MaskIndices(torch.arange(8).expand(8, 1, 8), torch.full((8, 1, 1), 15))
    left = MaskIndices(torch.tensor([0, 4, 8, 12]).expand(8, 1, 4), torch.full((8, 1, 1), 3))
    monitor = Masks(Masks.Settings())
    numbers = monitor.observe(snapshot(objective(), masks=top))
    assert numbers["masks/context_share"] == 0.5
    assert (numbers["masks/context_row_min"], numbers["masks/context_row_max"]) == (0, 1)
    assert numbers["masks/target_share"] == pytest.approx(1 / 16)
    numbers = monitor.observe(snapshot(objective(), masks=left))
    assert numbers["masks/context_share"] == pytest.approx((8 + 4) / 32)
    assert numbers["masks/context_row_min"] == pytest.approx(1 / 8)
    assert numbers["masks/context_column_max"] == pytest.approx((0.5 + 1) / 2)


def test_masks_warns_of_a_row_that_is_never_shown_once_it_is_sure():
    top = MaskIndices(torch.arange(8).expand(8, 1, 8), torch.full((8, 1, 1), 15))
    monitor, networks = Masks(Masks.Settings()), objective()
    said = [sentences(monitor, snapshot(networks, masks=top)) for _ in range(32)]
    assert said[:31] == [[]] * 31
    (sentence,) = said[31]
    assert "one row of the grid" in sentence
    assert "only 0.0 % of the pictures" in sentence
    fair = Masks(Masks.Settings())
    assert not any(sentences(fair, snapshot(networks, step=step)) for step in range(40))


def test_target_distance_is_relative():
    networks = objective()
    monitor = TargetDistance(TargetDistance.Settings())
    assert monitor.observe(snapshot(networks))["target/distance"] == 0
    with torch.no_grad():
        for weight in networks.target_encoder.parameters():
            weight.mul_(1.1)
    assert monitor.observe(snapshot(networks))["target/distance"] == pytest.approx(0.1, rel=1e-4)


def norm(value: float) -> Snapshot:
    return snapshot(objective(), gradient_norm=torch.tensor(value))


def test_a_jump_of_the_gradient_is_named():
    monitor = Gradients(Gradients.Settings())
    assert [sentences(monitor, norm(value)) for value in (2.0, 3.0, 2.0, 2.0, 2.5)] == [[]] * 5
    (sentence,) = sentences(monitor, norm(50.0))
    assert "jumped to 50, 22 times its recent median" in sentence


def test_vanished_gradients_are_named():
    (sentence,) = sentences(Gradients(Gradients.Settings()), norm(1e-9))
    assert "vanished" in sentence


def test_waiting_for_pictures_names_the_setting(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monitor = Throughput(Throughput.Settings(), num_workers=2)
    slow = snapshot(objective(), data_wait=0.31)
    assert [sentences(monitor, slow) for _ in range(3)] == [[], [], []]  # the first: workers start
    (sentence,) = sentences(monitor, slow)
    assert sentence == "31 % of the time goes by waiting for pictures: set data.num_workers=4."
    monitor.num_workers = 8
    assert sentences(monitor, slow) == []  # as before
    stuck = snapshot(objective(), data_wait=0.9)
    said = [sentence for _ in range(5) for sentence in sentences(monitor, stuck)]
    assert len(said) == 2  # at half again as much, twice
    assert "jepa pack" in said[0]


def test_a_cpu_that_loads_between_its_steps_is_not_idle():
    monitor = Throughput(Throughput.Settings(), loads_itself=True)
    busy, long = (snapshot(objective(), data_wait=share) for share in (0.2, 0.6))
    assert [sentences(monitor, busy) for _ in range(6)] == [[]] * 6
    numbers = monitor.observe(busy)
    assert numbers["throughput/mean_loading"] == pytest.approx(0.2)
    assert "throughput/mean_data_wait" not in numbers
    assert any("data.num_workers=" in s for _ in range(5) for s in sentences(monitor, long))


def test_quick_pictures_are_not_spoken_of():
    monitor = Throughput(Throughput.Settings(), flops_per_image=2e9, peak=1e12)
    quick = snapshot(objective(), data_wait=0.01)
    assert sentences(monitor, quick) == []
    assert monitor.observe(quick)["throughput/peak_share"] == pytest.approx(0.1)
    assert sentences(monitor, quick) == []
    unknown = snapshot(objective(), images_per_second=float("nan"))
    assert Throughput(Throughput.Settings()).observe(unknown) == {}
