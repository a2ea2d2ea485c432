"""The reference's YAML files: every key honoured, or refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from jepakit.runs.config import RunConfig
from jepakit.runs.reference_yaml import (
    beyond_reference,
    from_reference,
    is_reference,
    to_reference,
)
from jepakit.runs.yaml_file import apply_overrides, check, read_yaml, to_yaml

CONFIGS = Path(__file__).parents[3] / "configs"
# crop, patch, batch per device, model, predictor depth, epochs, warm-up, devices of the original
FILES = {
    "in1k_vith14_ep300": (224, 14, 128, "vit_huge", 12, 300, 40, 16),
    "in1k_vith16-448_ep300": (448, 16, 16, "vit_huge", 12, 300, 40, 128),
    "in22k_vith14_ep66": (224, 14, 32, "vit_huge", 12, 66, 3, 64),
    "in22k_vitg16_ep44": (224, 16, 16, "vit_giant", 16, 44, 3, 128),
}
NUM_KEYS = 37


@pytest.fixture
def content() -> dict[str, Any]:
    file = read_yaml(CONFIGS / "in1k_vith14_ep300.yaml")
    file["data"]["root_path"] = "/pictures"
    file["logging"]["folder"] = "/runs/huge"
    return file


def changed(content: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A copy with `section__key=value` settings."""
    copied = copy.deepcopy(content)
    for name, value in settings.items():
        section, key = name.split("__")
        copied[section][key] = value
    return copied


@pytest.mark.parametrize("name", FILES)
def test_released_files_have_the_references_values(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop, patch, batch, model, depth, epochs, warmup, devices = FILES[name]
    file = read_yaml(CONFIGS / f"{name}.yaml")
    assert sum(len(section) for section in file.values()) == NUM_KEYS
    with pytest.raises(
        ValueError, match=r"data\.root_path .* and logging\.folder .* still are placeholders"
    ):
        from_reference(file, devices)
    monkeypatch.setenv("YOUR_PATH_FOR_OUTPUTS", "/runs")
    with pytest.raises(ValueError, match=r"^data\.root_path .* still is a placeholder"):
        from_reference(file, devices)
    monkeypatch.setenv("YOUR_PATH_TO_IMAGES", "/pictures")

    config = from_reference(file, devices)

    assert config.data.view.size == (crop, crop)
    assert (config.encoder.size, config.encoder.patch) == (model, patch)
    assert (config.predictor.depth, config.predictor.width) == (depth, 384)
    assert (config.batch.size, config.batch.device) == (2048, batch)
    assert (config.optimization.epochs, config.optimization.warmup_epochs) == (epochs, warmup)


def test_every_key_reaches_the_run(content: dict[str, Any]) -> None:
    config = from_reference(content, 3)
    assert config.folder == Path("/runs/huge")
    assert config.data.source.path == Path("/pictures/imagenet_full_size/061417")
    assert config.data.source.split == "train"
    assert config.batch.size == 3 * 128
    assert config.precision == "bf16"
    assert config.encoder.initialisation == config.predictor.initialisation == "released"
    assert config.masking.kind == "reference_multiblock"
    assert config.objective.regulariser.kind == "none"
    assert config.checkpoint.keep_every_epochs == 50
    assert config.reference_outputs is not None
    assert config.reference_outputs.tag == "jepa"
    assert config.reference_outputs.continue_from is None


# For every key: another value, and where in our settings it must arrive.
ARRIVALS = [
    ("data.batch_size", 64, "batch.size", 128),
    ("data.crop_scale", [0.2, 0.9], "data.view.scale", [0.2, 0.9]),
    ("data.crop_size", 112, "data.view.size", [112, 112]),
    ("data.image_folder", "other/", "data.source.path", "/pictures/other"),
    ("data.num_workers", 3, "data.num_workers", 3),
    ("data.root_path", "/elsewhere", "data.source.path", "/elsewhere/imagenet_full_size/061417"),
    ("data.use_gaussian_blur", True, "data.view.blur", 0.5),
    ("data.use_horizontal_flip", True, "data.view.flip", 0.5),
    ("logging.folder", "/runs/other", "folder", "/runs/other"),
    ("logging.write_tag", "mine", "reference_outputs.tag", "mine"),
    ("mask.allow_overlap", True, "masking.allow_overlap", True),
    ("mask.aspect_ratio", [0.5, 2.0], "masking.aspect_ratio", [0.5, 2.0]),
    ("mask.enc_mask_scale", [0.7, 0.8], "masking.enc_mask_scale", [0.7, 0.8]),
    ("mask.min_keep", 4, "masking.min_keep", 4),
    ("mask.num_enc_masks", 2, "masking.num_enc_masks", 2),
    ("mask.num_pred_masks", 3, "masking.num_pred_masks", 3),
    ("mask.patch_size", 16, "encoder.patch", 16),
    ("mask.pred_mask_scale", [0.1, 0.3], "masking.pred_mask_scale", [0.1, 0.3]),
    ("meta.model_name", "vit_tiny", "encoder.size", "vit_tiny"),
    ("meta.pred_depth", 4, "predictor.depth", 4),
    ("meta.pred_emb_dim", 192, "predictor.width", 192),
    ("meta.use_bfloat16", False, "precision", "fp32"),
    ("optimization.ema", [0.99, 0.999], "objective.ema", [0.99, 0.999]),
    ("optimization.epochs", 90, "optimization.epochs", 90.0),
    ("optimization.final_lr", 2e-6, "optimization.final_lr", 2e-6),
    ("optimization.final_weight_decay", 0.1, "optimization.final_weight_decay", 0.1),
    ("optimization.ipe_scale", 1.25, "optimization.schedule_scale", 1.25),
    ("optimization.lr", 5e-4, "optimization.lr", 5e-4),
    ("optimization.start_lr", 1e-4, "optimization.start_lr", 1e-4),
    ("optimization.warmup", 7, "optimization.warmup_epochs", 7.0),
    ("optimization.weight_decay", 0.05, "optimization.weight_decay", 0.05),
]
# Keys that only work together with another one, or that change nothing here; tested below.
OTHERS = {
    *("data.color_jitter_strength", "data.use_color_distortion", "data.pin_mem"),
    *("meta.copy_data", "meta.load_checkpoint", "meta.read_checkpoint"),
}


def test_the_table_of_arrivals_is_complete(content: dict[str, Any]) -> None:
    keys = {f"{section}.{key}" for section, keys in content.items() for key in keys}
    assert {key for key, *_ in ARRIVALS} | OTHERS == keys
    assert len(keys) == NUM_KEYS


@pytest.mark.parametrize(("key", "value", "arrives", "as_value"), ARRIVALS)
def test_a_changed_key_arrives_and_goes_back(
    content: dict[str, Any], key: str, value: Any, arrives: str, as_value: Any
) -> None:
    config = from_reference(changed(content, **{key.replace(".", "__"): value}), 2)
    found: Any = config.model_dump(mode="json")
    for part in arrives.split("."):
        found = found[part]
    assert found == as_value
    section, name = key.split(".")
    again = to_reference(config)[section][name]
    if name not in ("root_path", "image_folder"):  # these two are one path in ours
        assert again == value
    assert beyond_reference(config) == []


def test_colour_jitter_needs_its_switch(content: dict[str, Any]) -> None:
    off = from_reference(changed(content, data__color_jitter_strength=0.4), 1)
    on = from_reference(
        changed(content, data__color_jitter_strength=0.4, data__use_color_distortion=True), 1
    )
    assert (off.data.view.jitter, on.data.view.jitter) == (0.0, 0.4)
    assert beyond_reference(on) == []


def test_unpinned_memory_is_accepted_and_said_to_change_nothing(
    content: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert from_reference(changed(content, data__pin_mem=False), 1) == from_reference(
            content, 1
        )
    assert "data.pin_mem" in caplog.text


@pytest.mark.parametrize(
    ("load", "name", "expected"),
    [
        (False, None, None),
        (False, "jepa-ep50.pth.tar", None),
        (True, None, "jepa-latest.pth.tar"),
        (True, "jepa-ep50.pth.tar", "jepa-ep50.pth.tar"),
    ],
)
def test_where_to_continue(
    content: dict[str, Any], load: bool, name: str | None, expected: str | None
) -> None:
    config = from_reference(
        changed(content, meta__load_checkpoint=load, meta__read_checkpoint=name), 1
    )
    assert config.reference_outputs is not None
    assert config.reference_outputs.continue_from == expected


def test_the_description_survives_the_run_folders_yaml(
    content: dict[str, Any], tmp_path: Path
) -> None:
    config = from_reference(content, 2)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert check(RunConfig, read_yaml(tmp_path / "config.yaml")) == config


def test_a_file_of_the_reference_is_told_from_ours(content: dict[str, Any]) -> None:
    assert is_reference(content)
    assert not is_reference(yaml.safe_load(to_yaml(RunConfig())))
    assert not is_reference({})


def test_a_missing_key_is_named(content: dict[str, Any]) -> None:
    del content["mask"]["min_keep"]
    with pytest.raises(ValueError, match=r"lacks mask\.min_keep: add it"):
        from_reference(content, 1)
    del content["mask"]
    with pytest.raises(ValueError, match=r"lacks mask: add it"):
        from_reference(content, 1)


def test_an_unknown_key_comes_with_a_suggestion(content: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"unknown key mask\.patchsize .*did you mean mask\.patch_size"
    ):
        from_reference(changed(content, mask__patchsize=16), 1)
    with pytest.raises(ValueError, match=r"unknown key mask\.epochs .*mean optimization\.epochs"):
        from_reference(changed(content, mask__epochs=16), 1)
    with pytest.raises(ValueError, match=r"unknown key optimisation .*did you mean optimization"):
        from_reference({**content, "optimisation": {}}, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"meta__copy_data": True}, r"meta\.copy_data: true is not supported"),
        ({"meta__model_name": "vit_enormous"}, r"meta\.model_name='vit_enormous' is not possible"),
        ({"data__batch_size": "many"}, r"data\.batch_size='many' is not possible"),
        ({"data__batch_size": None}, r"data\.batch_size=None is not possible"),
        ({"data__root_path": ""}, r"data\.root_path \(''\) still is a placeholder"),
        ({"data__crop_size": 225}, r"does not divide into patches"),
        ({"optimization__epochs": 30}, r"warmup_epochs=40 is longer than"),
    ],
)
def test_impossible_values_are_refused_by_name(
    content: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        from_reference(changed(content, **settings), 1)


def test_a_section_must_hold_keys(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="mask must hold `key: value` lines"):
        from_reference({**content, "mask": None}, 1)


def test_what_the_references_keys_cannot_say_is_listed(content: dict[str, Any]) -> None:
    described = from_reference(content, 1).model_dump(mode="json")
    more = apply_overrides(described, ["compile=true", "objective.regulariser.kind=vicreg"])
    assert beyond_reference(check(RunConfig, more)) == [
        "compile: True -> False",
        "objective.regulariser.kind: vicreg -> none",
    ]
    fair = check(RunConfig, {})
    assert to_reference(fair)["mask"]["num_pred_masks"] == 4
    assert any(line.startswith("masking.kind: multiblock") for line in beyond_reference(fair))
    scattered = check(RunConfig, {"masking": {"kind": "random"}})
    with pytest.raises(ValueError, match=r"cannot describe masking\.kind=random"):
        to_reference(scattered)
