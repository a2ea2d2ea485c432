"""From YAML and words to settings, and mistakes in words that a person can act on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jepakit.runs.config import RunConfig
from jepakit.runs.yaml_file import apply_overrides, check, read_yaml, to_yaml


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_numbers_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    content = read_yaml(written(tmp_path, "a: 1e-3\nb: 2.0e-3\nc: -1E5\nd: 1e\n"))
    assert content == {"a": 1e-3, "b": 2e-3, "c": -1e5, "d": "1e"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"config.yaml is not valid YAML: .* \(line \d, column \d\)"),
        ("a: 1\nb: 2\na: 3\n", r"'a' is given twice \(line 3, column 1\)"),
        ("- 1\n", "must hold settings as `name: value` lines"),
        ("just words", "must hold settings as `name: value` lines"),
        ("a: !!python/object/apply:os.getcwd []", "is not valid YAML: could not determine"),
        ("a: \x00", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_yaml(written(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no config file .*nothing\.yaml"):
        read_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(ValueError, match=r"is a folder.*--data"):
        read_yaml(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match="is not a text file"):
        read_yaml(tmp_path / "bytes")


def test_an_empty_file_is_no_settings(tmp_path: Path) -> None:
    assert read_yaml(written(tmp_path, "# nothing\n")) == {}


def test_words_are_applied_to_a_copy() -> None:
    content = {"a": {"b": 1}, "c": None}
    words = ["a.b=2", "a.d=[1, x]", "c.e=1e-3", "f.g.h=", "i=a=b"]
    assert apply_overrides(content, words) == {
        "a": {"b": 2, "d": [1, "x"]},
        "c": {"e": 1e-3},
        "f": {"g": {"h": None}},
        "i": "a=b",
    }
    assert content == {"a": {"b": 1}, "c": None}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("a.b", r"'a.b' is not a setting: write name.of.setting=value"),
        ("=3", "is not a setting"),
        ("a..b=3", "is not a setting"),
        ("x.y=3", "'x.y' goes below 'x', which is a single value"),
        ("a.b=[1", "the value in 'a.b=\\[1' is not YAML"),
    ],
)
def test_words_that_are_no_settings_are_refused(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        apply_overrides({"x": 1}, [word])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "folder", ["1e5", "2024", "true", "a: b", "null", "~", "ünï [x]", "runs/a"]
)
def test_what_is_printed_is_read_as_the_same(tmp_path: Path, folder: str) -> None:
    content = {
        "folder": f"./{folder}" if folder == "~" else folder,
        "data": {"source": {"kind": "folder", "path": folder}},
        "masking": {"kind": "random"},
        "optimization": {"eps": 1e-12},
    }
    config = check(RunConfig, content)
    assert check(RunConfig, read_yaml(written(tmp_path, to_yaml(config)))) == config


def test_a_kind_that_is_left_out_is_the_default() -> None:
    config = check(RunConfig, {"masking": {"num_targets": 2}, "data": {"source": {"size": 32}}})
    assert config.masking.kind == "multiblock"
    assert config.data.source.kind == "scenes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # unknown names
        ({"epohcs": 1}, "unknown setting 'epohcs': did you mean 'optimization.epochs'?"),
        ({"batch_size": 1}, "unknown setting 'batch_size': did you mean 'batch.size'?"),
        ({"width": 1}, "did you mean 'encoder.width' or 'predictor.width'?"),
        ({"encoder": {"heads": 3}}, "'encoder.heads': did you mean 'encoder.num_heads'?"),
        ({"zzz": 1}, "unknown setting 'zzz': known here are folder, seed, "),
        (
            {"masking": {"kind": "multiblock", "num_targetz": 1}},
            "unknown setting 'masking.num_targetz': did you mean 'masking.num_targets'?",
        ),
        (
            {"data": {"source": {"kind": "scenes", "num_picture": 1}}},
            "'data.source.num_picture': did you mean 'data.source.num_pictures'?",
        ),
        (
            {"data": {"validation": {"kind": "folder", "path": "x", "splitt": 1}}},
            "'data.validation.splitt': did you mean 'data.validation.split'?",
        ),
        (
            {"objective": {"regulariser": {"wieght": 1}}},
            "'objective.regulariser.wieght': did you mean 'objective.regulariser.weight'?",
        ),
        (
            {"masking": {"kind": "random", "target_scale": [0.1, 0.2]}},
            "'masking.target_scale' with masking.kind=random: it belongs to masking.kind=multibl",
        ),
        # kinds
        (
            {"masking": {"kind": "multiblok"}},
            "masking.kind='multiblok' is unknown: did you mean 'multiblock'? choose one of multibl",
        ),
        ({"data": {"validation": {"size": 32}}}, "data.validation.kind is missing: choose one of"),
        ({"objective": {"kind": "mae"}}, "objective.kind='mae' is unknown: choose one of ijepa"),
        # wrong types and ranges
        ({"batch": {"size": 0}}, "batch.size=0 is not possible: it should be greater than or "),
        ({"batch": {"size": "many"}}, "batch.size='many' is not possible: write a whole number"),
        ({"batch": {"device": "x"}}, "batch.device='x' is not possible: write a whole number or "),
        ({"batch": 5}, "it is a group of settings, write e.g. batch.size=VALUE"),
        ({"masking": "random"}, "it is a group of settings, write e.g. masking.kind=VALUE"),
        ({"data": {"view": {"size": [0, 64]}}}, "data.view.size[0]=0 is not possible"),
        ({"data": {"view": {"scale": [0.5]}}}, "data.view.scale has too few values"),
        ({"data": {"source": {"kind": "folder"}}}, "data.source.path is missing: write data.sour"),
        ({"data": {"source": {"size": 3}}}, "data.source.size: scenes need at least 8 pixels"),
        ({"data": {"num_workers": -1}}, "data.num_workers=-1 is not possible"),
        ({"folder": 3}, "folder=3 is not possible: write a text, in quotes"),
        ({"seed": float("nan")}, "seed=nan is not possible"),
        ({"data": {1: 2}}, "is not possible: keys should be strings"),
    ],
)
def test_a_mistake_is_told_in_the_words_of_the_file(content: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        check(RunConfig, content)
    told = str(error.value)
    assert "\n" not in told
    assert "Input" not in told


def test_every_mistake_is_told() -> None:
    with pytest.raises(ValueError, match=r"seed=.*; .*'batch\.sizes': did you mean 'batch\.size'"):
        check(RunConfig, {"seed": -1, "batch": {"sizes": 3}})


MIXTURE = """
kind: mixed
sources:
- source: {kind: scenes, num_pictures: 10}
- source: {kind: torchvision, name: FakeData, options: {image_size: [3, 8, 8]}}
  weight: 2
"""


def test_a_mixture_of_sources_survives_yaml_and_json(tmp_path: Path) -> None:
    source = read_yaml(written(tmp_path, MIXTURE))
    config = check(RunConfig, {"data": {"source": source}})
    assert check(RunConfig, read_yaml(written(tmp_path, to_yaml(config)))) == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("kind: scenes", "kind: scene", r"sources\[0\]\.source\.kind='scene' is unknown: did you"),
        ("kind: scenes", "kind: mixed", r"kind='mixed' is unknown: choose one of folder, scenes"),
        ("num_pictures", "num_picture", r"did you mean 'data\.source\.sources\[0\]\.source\.num_p"),
        ("weight: 2", "weight: -2", r"^data\.source\.sources\[1\]\.weight=-2 is not possible"),
        ("weight: 2", "wait: 2", r"unknown setting 'data\.source\.sources\[1\]\.wait'"),
    ],
)
def test_mistakes_in_a_mixture_are_told_by_their_place(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    source = read_yaml(written(tmp_path, MIXTURE.replace(before, after)))
    with pytest.raises(ValueError, match=message):
        check(RunConfig, {"data": {"source": source}})
