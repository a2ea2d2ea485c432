"""Whatever a name stands for: all forms of weights, what is told about them, and bad input."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from jepakit.data.normalization import Statistics
from jepakit.models import SIZES, Encoder, Predictor
from jepakit.pretrained.architecture import describe
from jepakit.pretrained.huggingface import write_huggingface
from jepakit.pretrained.huggingface_names import from_theirs, to_theirs
from jepakit.pretrained.meta import NETWORKS, write_meta
from jepakit.pretrained.plain import write_plain
from jepakit.pretrained.resizing import resized
from jepakit.pretrained.timm_folder import write_timm_folder
from jepakit.pretrained.weights import CONTEXT, ENCODER, PREDICTOR, TARGET, Description, Weights
from jepakit.runs.loaded import Loaded
from jepakit.runs.subjects import open_candidates
from jepakit.runs.weights import load_weights

CPU = torch.device("cpu")


def random_weights(
    settings: Encoder.Settings,
    size: tuple[int, int] = (32, 32),
    num_channels: int = 3,
    predictor: Predictor.Settings | None = None,
) -> Weights:
    """Two different encoders and a predictor, every parameter random."""
    torch.manual_seed(0)
    heads = settings.resolved().num_heads
    predictor = predictor or Predictor.Settings(width=8 * heads, depth=2)
    encoders = [Encoder(settings, num_channels, size) for _ in range(2)]
    networks = dict(zip((TARGET, CONTEXT), encoders, strict=True))
    modules = {**networks, PREDICTOR: Predictor(predictor, encoders[0])}
    states = {name: dict(module.state_dict()) for name, module in modules.items()}
    for state in states.values():
        for name in state:
            if not name.endswith("pos_embed"):
                state[name] = state[name] + torch.randn_like(state[name]) * 0.1
    statistics = Statistics(mean=(0.4,) * num_channels, std=(0.3,) * num_channels)
    return Weights(
        states,
        Description(
            encoder=settings,
            predictor=predictor,
            num_channels=num_channels,
            size=size,
            normalization=statistics,
        ),
    )


ODD = Encoder.Settings(size=None, width=40, depth=2, num_heads=5, mlp_ratio=2.3, patch=8)
OBLONG = Encoder.Settings(size=None, width=24, depth=1, num_heads=3, patch=(8, 4))
TINY = Encoder.Settings(size="vit_tiny", depth=2, patch=8)


def written(to: str, weights: Weights, folder: Path) -> Path:
    """The weights in one of the forms."""
    if to in ("huggingface", "timm"):
        path = folder / to
        path.mkdir()
        (write_huggingface if to == "huggingface" else write_timm_folder)(weights, path)
        return path
    path = folder / ("a.pth.tar" if to == "meta" else "a.safetensors")
    (write_meta if to == "meta" else write_plain)(weights, path)
    return path


FORMS = ("meta", "huggingface", "timm", "safetensors")


@pytest.mark.parametrize("to", FORMS)
@pytest.mark.parametrize(
    ("settings", "size", "num_channels"),
    [(ODD, (32, 32), 3), (OBLONG, (32, 24), 5)],
    ids=["odd", "oblong"],
)
def test_ours_there_and_back_is_the_same_to_the_last_bit(
    tmp_path: Path, to: str, settings: Encoder.Settings, size: tuple[int, int], num_channels: int
) -> None:
    predictor = Predictor.Settings(width=36, depth=1, num_heads=3)
    weights = random_weights(settings, size, num_channels, predictor)
    path = written(to, weights, tmp_path)
    for branch in ("target", "context"):
        loaded = load_weights(str(path), CPU, branch)  # type: ignore[arg-type]
        assert loaded.branch == branch
        again = loaded.weights()
        assert next(iter(again.networks)) == f"{branch}_encoder"
        assert again.description == weights.description
        assert_equal(again.networks, weights.networks)
        assert loaded.report.missing == ()
        assert loaded.size == size
        assert f"the {branch} encoder" in loaded.report.sentence
    assert loaded.predictor is not None
    assert loaded.normalise.statistics == weights.description.normalization


def assert_equal(one: dict[str, dict[str, Tensor]], other: dict[str, dict[str, Tensor]]) -> None:
    assert one.keys() == other.keys()
    for name, state in one.items():
        assert state.keys() == other[name].keys()
        for key, tensor in state.items():
            assert torch.equal(tensor, other[name][key]), (name, key)


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("second", FORMS)
def test_from_any_form_to_any_form(tmp_path: Path, first: str, second: str) -> None:
    weights = random_weights(TINY)
    once = load_weights(str(written(first, weights, tmp_path)), CPU).weights()
    (tmp_path / "again").mkdir()
    path = written(second, once, tmp_path / "again")
    assert_equal(load_weights(str(path), CPU).weights().networks, weights.networks)


# What the released files look like: names, shapes, no word about the architecture.
RELEASED = {
    "H/14": ("vit_huge", 14, 224, (12, 384)),
    "H/16-448": ("vit_huge", 16, 448, (12, 384)),
    "g/16": ("vit_giant", 16, 224, (16, 384)),
}


def shapes_only(settings: Encoder.Settings, side: int, predictor: tuple[int, int]) -> Weights:
    """Networks of full size without memory for them."""
    with torch.device("meta"):
        chosen = Predictor.Settings(depth=predictor[0], width=predictor[1])
        encoder = Encoder(settings, 3, (side, side))
        network = Predictor(chosen, encoder)
    description = Description(encoder=settings, predictor=chosen, size=(side, side))
    return Weights({TARGET: encoder.state_dict(), PREDICTOR: network.state_dict()}, description)


@pytest.mark.parametrize("name", RELEASED)
def test_released_architectures_are_inferred_from_shapes(name: str) -> None:
    size, patch, side, predictor = RELEASED[name]
    settings = Encoder.Settings(size=size, patch=patch)  # type: ignore[arg-type]
    weights = shapes_only(settings, side, predictor)
    found = describe(weights.networks, name)
    assert found == weights.description
    assert found.encoder.resolved() == SIZES[size]


@pytest.mark.parametrize("size", SIZES)
def test_every_named_size_is_inferred(size: str) -> None:
    settings = Encoder.Settings(size=size, patch=16)  # type: ignore[arg-type]
    assert describe(shapes_only(settings, 64, (6, 384)).networks, size).encoder == settings


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_released_file_needs_no_description(
    tmp_path: Path, prefix: str, dtype: torch.dtype
) -> None:
    weights = random_weights(TINY)
    networks = {
        theirs: {prefix + key: t.to(dtype) for key, t in weights.networks[ours].items()}
        for theirs, ours in NETWORKS.items()
    }
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}
    path = tmp_path / "IN1K-vit.h.14-300e.pth.tar"
    torch.save({**networks, "opt": optimizer, "epoch": 300, "lr": 1e-6}, path)

    for name in (str(path), f"meta:{path}"):
        loaded = load_weights(name, CPU)
        assert loaded.branch == "target"
        assert loaded.size == (32, 32)
        assert loaded.report.unused == ("opt", "epoch", "lr")
        assert len(loaded.report.used) == sum(map(len, weights.networks.values()))
        expected = {
            n: {k: t.to(dtype).float() for k, t in s.items()} for n, s in weights.networks.items()
        }
        assert_equal(loaded.weights().networks, expected)
    assert torch.equal(
        load_weights(name, CPU, "context").encoder.norm.bias,  # type: ignore[union-attr]
        expected[CONTEXT]["norm.bias"],
    )


def test_names_of_transformers_old_and_new_are_read() -> None:
    state = random_weights(TINY).networks[TARGET]
    theirs = to_theirs(state)
    again, used, unused = from_theirs(theirs)
    assert_equal({"": again}, {"": state})
    assert set(used) == set(theirs)
    assert unused == []
    newer = {
        name.replace("encoder.layer.", "ijepa.layers.")
        .replace("attention.attention.query", "attention.q_proj")
        .replace("attention.attention.key", "attention.k_proj")
        .replace("attention.attention.value", "attention.v_proj")
        .replace("attention.output.dense", "attention.o_proj")
        .replace("intermediate.dense", "mlp.fc1")
        .replace(".output.dense", ".mlp.fc2"): tensor
        for name, tensor in theirs.items()
    }
    again, _, unused = from_theirs({**newer, "classifier.weight": torch.zeros(2, 192)})
    assert_equal({"": again}, {"": state})
    assert unused == ["classifier.weight"]


def foreign_folder(folder: Path, **config: object) -> Path:
    """An IJepaModel that we did not write: no companions."""
    path = written("huggingface", random_weights(TINY), folder)
    for name in ("jepakit.json", "context_encoder.safetensors", "predictor.safetensors"):
        (path / name).unlink()
    content = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**content, **config}))
    return path


def test_a_conversion_says_that_its_branch_is_not_recorded(tmp_path: Path) -> None:
    loaded = load_weights(str(foreign_folder(tmp_path)), CPU)
    assert loaded.branch is None
    assert loaded.target_encoder is None
    assert loaded.predictor is None
    assert "conversions of the released weights hold the context encoder" in loaded.report.sentence
    assert list(loaded.weights().networks) == [ENCODER]
    assert loaded.normalise.statistics.mean == (0.4, 0.4, 0.4)


def test_a_lone_context_encoder_is_taken_and_named(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    alone = Weights({CONTEXT: weights.networks[CONTEXT]}, weights.description)
    path = written("safetensors", alone, tmp_path)
    loaded = load_weights(str(path), CPU)
    assert loaded.branch == "context"
    assert "holds no target encoder" in loaded.report.sentence
    target = Weights({TARGET: weights.networks[TARGET]}, weights.description)
    (tmp_path / "b").mkdir()
    path = written("safetensors", target, tmp_path / "b")
    with pytest.raises(ValueError, match="holds no context encoder"):
        load_weights(str(path), CPU, "context")


@pytest.mark.parametrize("naming", ["bare", "wrapped", "theirs"])
def test_plain_files_of_others(tmp_path: Path, naming: str) -> None:
    state = random_weights(TINY).networks[TARGET]
    names: dict[str, Callable[[str], str]] = {
        "bare": lambda name: name,
        "wrapped": lambda name: f"module.{name}",
        "theirs": lambda name: f"target_encoder.module.{name}",
    }
    path = tmp_path / "weights.safetensors"
    save_file({names[naming](key): tensor for key, tensor in state.items()}, path)
    loaded = load_weights(str(path), CPU)
    assert loaded.branch == ("target" if naming == "theirs" else None)
    assert_equal({"": dict(loaded.encoder.state_dict())}, {"": state})


def test_partial_files_are_refused_unless_asked_for(tmp_path: Path) -> None:
    weights = random_weights(TINY)
    del weights.networks[TARGET]["blocks.1.mlp.fc2.bias"]
    weights.networks[TARGET]["blocks.0.extra"] = torch.zeros(2)
    path = tmp_path / "a.safetensors"
    write_plain(weights, path)
    with pytest.raises(ValueError, match=r"not hold a whole target encoder(.|\n)*fc2.bias"):
        load_weights(str(path), CPU)
    loaded = load_weights(str(path), CPU, partial=True)
    assert loaded.report.missing == ("target_encoder.blocks.1.mlp.fc2.bias",)
    assert "missing, so random: target_encoder.blocks.1.mlp.fc2.bias" in loaded.report.sentence
    assert loaded.report.unused == ("target_encoder.blocks.0.extra",)

    torch.save({"target_encoder": weights.networks[CONTEXT]}, tmp_path / "b.pth.tar")
    with pytest.raises(ValueError, match="lacks the context encoder and the predictor"):
        load_weights(str(tmp_path / "b.pth.tar"), CPU)
    assert load_weights(str(tmp_path / "b.pth.tar"), CPU, partial=True).predictor is None


class Malicious:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, (f"open({str(self.witness)!r}, 'w').close()",))


@pytest.mark.parametrize("name", ["a.pth.tar", "a.pt", "pytorch_model.bin"])
def test_pickled_code_is_never_run(tmp_path: Path, name: str) -> None:
    witness = tmp_path / "code-was-run"
    for write in (
        torch.save,
        lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
    ):
        path = tmp_path / name
        if name == "pytorch_model.bin":
            path = foreign_folder(tmp_path) / name
            (path.parent / "model.safetensors").unlink()
        write({"target_encoder": Malicious(witness), "encoder": {}}, path)
        where = path.parent if name == "pytorch_model.bin" else path
        with pytest.raises(ValueError, match=r"holds more than tensors \(exec\)"):
            load_weights(str(where), CPU)
        assert not witness.exists()
        if name == "pytorch_model.bin":
            shutil.rmtree(path.parent)


def test_truncated_files_are_named(tmp_path: Path) -> None:
    for to in FORMS:
        (tmp_path / to).mkdir()
        path = written(to, random_weights(TINY), tmp_path / to)
        file = path / "model.safetensors" if path.is_dir() else path
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(ValueError, match=r"is damaged,? or") as error:
            load_weights(str(path), CPU)
        assert file.name in str(error.value)
        assert "\n" not in str(error.value)


OTHERS = {
    "MAE": ["model.decoder_embed.weight", "model.cls_token", "model.patch_embed.proj.weight"],
    "DINO or iBOT": ["teacher.backbone.patch_embed.proj.weight", "student.module.head.mlp.0.bias"],
    "DINOv2": ["cls_token", "blocks.0.ls1.gamma", "patch_embed.proj.weight"],
    "V-JEPA (video)": ["target_encoder.module.backbone.patch_embed.proj.weight"],
    "CLIP": ["visual.transformer.resblocks.0.ln_1.bias", "logit_scale"],
    "a vision transformer with a class token": ["cls_token", "patch_embed.proj.weight"],
    "a convolutional network": ["layer1.0.conv1.weight", "fc.weight"],
}


@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_checkpoints_of_other_methods_are_named(tmp_path: Path, method: str, ending: str) -> None:
    tensors = {name: torch.zeros(2, 3, 4, 4) for name in OTHERS[method]}
    path = tmp_path / f"other{ending}"
    torch.save(tensors, path) if ending == ".pth" else save_file(tensors, path)
    with pytest.raises(ValueError, match="not of I-JEPA") as error:
        load_weights(str(path), CPU)
    assert f"is a checkpoint of {method}" in str(error.value)
    assert "timm:" in str(error.value)


def test_other_mistakes_get_one_sentence(tmp_path: Path) -> None:
    state = random_weights(TINY).networks[TARGET]
    wrong = tmp_path / "wrong.safetensors"
    save_file({f"net.vit.{key}": tensor for key, tensor in state.items()}, wrong)
    mistakes = {
        str(wrong): "begin with 'net.vit.', which is no beginning of I-JEPA's",
        str(tmp_path / "nowhere.pth.tar"): r"there is no .*nowhere.pth.tar: give a run folder",
        "facebook/ijepa_vith14_1k": "did you mean hf:facebook/ijepa_vith14_1k",
        "hf:nothing": "is no name on the Hub: write hf:ORG/NAME",
        str(tmp_path): "is no run folder",
    }
    for name, words in mistakes.items():
        with pytest.raises(ValueError, match=words) as error:
            load_weights(name, CPU)
        assert "\n" not in str(error.value)
    unusual = tmp_path / "unusual.safetensors"
    save_file(random_weights(ODD).networks[TARGET], unusual)
    with pytest.raises(ValueError, match=r"heads of .* does not show in its shapes"):
        load_weights(str(unusual), CPU)
    with pytest.raises(ValueError, match="choose 32 x 40"):
        resized(random_weights(TINY), (30, 41))


def test_folders_of_other_models_are_refused(tmp_path: Path) -> None:
    for number, (config, words) in enumerate(
        [
            ({"model_type": "vit"}, "of the kind vit, not ijepa"),
            ({"layer_norm_eps": 1e-12}, "layer norms of .* add 1e-12"),
            ({"hidden_act": "relu"}, "no GELU"),
            ({"image_size": 33}, "does not divide into patches"),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ValueError, match=words):
            load_weights(str(foreign_folder(tmp_path / str(number), **config)), CPU)


@torch.no_grad()
def test_resized_weights_compute_what_resampling_does() -> None:
    weights = random_weights(TINY)
    larger = resized(weights, (48, 32))
    views = torch.randn(2, 3, 48, 32)
    features = []
    for each in (weights, larger):
        encoder = Encoder(TINY, 3, each.description.size)
        encoder.load_state_dict(each.networks[TARGET])
        features.append(encoder(views))
    assert torch.equal(*features)
    assert larger.networks[PREDICTOR]["predictor_pos_embed"].shape == (1, 24, 24)


def test_evaluations_take_every_name(tmp_path: Path) -> None:
    path = written("huggingface", random_weights(TINY), tmp_path)
    target, context = open_candidates(str(path), CPU, "both")
    assert [c.subject.name for c in (target, context)] == [
        "huggingface (target encoder)",
        "huggingface (context encoder)",
    ]
    assert target.subject.fingerprint != context.subject.fingerprint
    twin = target.untrained()
    assert twin.name == "random encoder"
    assert twin.fingerprint == context.untrained().fingerprint != target.subject.fingerprint
    saved = load_file(path / "context_encoder.safetensors")["norm.weight"]
    assert torch.equal(context.subject.backbone.norm.weight, saved)  # type: ignore[union-attr]


def test_what_is_not_built_like_ours_cannot_be_exported(tmp_path: Path) -> None:
    loaded = load_weights(str(written("timm", random_weights(TINY), tmp_path)), CPU)
    other = Loaded(**{**vars(loaded), "description": None})
    with pytest.raises(ValueError, match="not built like an encoder of I-JEPA"):
        other.weights()
