"""CSV tables of pictures: what is guessed, what is set, and what is said about mistakes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from jepakit.data.sources.table import Table, table_parts


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    """The table, with the pictures a.png to d.png beside it."""
    for grey, letter in enumerate("abcd"):
        Image.new("RGB", (10, 8), (grey, 5, 5)).save(folder / f"{letter}.png")
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def opened(file: Path, **settings: Any) -> Table:
    return Table(Table.Settings(path=file, **settings))


def labels(table: Table) -> list[int]:
    return [table.label(index) for index in range(len(table))]


def test_paths_and_a_class_are_recognised(tmp_path: Path) -> None:
    table = opened(write(tmp_path, "path,label\na.png,dog\nb.png,cat\nc.png,dog\n"))
    assert table.classes == ("cat", "dog")
    assert labels(table) == [1, 0, 1]
    assert [table.name(index) for index in range(3)] == ["a.png", "b.png", "c.png"]
    assert table.sample(2).picture[0, 0].tolist() == [2, 5, 5]
    assert table.sample(2).label == 1
    assert (dict(table.tasks), table.labels(0)) == ({}, {})


def test_numbered_classes_are_sorted_as_numbers(tmp_path: Path) -> None:
    table = opened(write(tmp_path, "file,class\na.png,10\nb.png,9\nc.png,10\n"))
    assert table.classes == ("9", "10")
    assert labels(table) == [1, 0, 1]


def test_several_columns_of_yes_and_no_are_tasks(tmp_path: Path) -> None:
    table = opened(write(tmp_path, "image;smiles;hat\na.png;1;0\nb.png;0;0\nc.png;1;1\n"))
    assert dict(table.tasks) == {"smiles": ("no", "yes"), "hat": ("no", "yes")}
    assert [table.labels(index) for index in range(3)] == [
        {"smiles": 1, "hat": 0},
        {"smiles": 0, "hat": 0},
        {"smiles": 1, "hat": 1},
    ]
    assert all(type(value) is int for value in table.labels(0).values())
    assert (table.classes, labels(table), table.quantities) == ((), [-1, -1, -1], ())


def test_numbers_are_quantities(tmp_path: Path) -> None:
    table = opened(write(tmp_path, "path\tage\tsize\na.png\t31\t0.5\nb.png\t4\t-2e3\n"))
    assert table.quantities == ("age", "size")
    assert table.labels(1) == {"age": 4.0, "size": -2000.0}
    assert all(type(value) is float for value in table.labels(0).values())
    assert (dict(table.tasks), table.classes) == ({}, ())


def test_a_class_beside_other_targets_is_a_task_too(tmp_path: Path) -> None:
    table = opened(write(tmp_path, "path,label,age\na.png,x,3\nb.png,y,5\n"))
    assert table.classes == ("x", "y")
    assert dict(table.tasks) == {"label": ("x", "y")}
    assert table.labels(1) == {"label": 1, "age": 5.0}


def test_identifiers_are_left_out_and_the_log_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "path,note,kind,label\na.png,p,u,x\nb.png,q,u,y\nc.png,r,v,x\nd.png,s,v,x\n"
    with caplog.at_level(logging.INFO):
        table = opened(write(tmp_path, text))
    assert list(table.tasks) == ["label", "kind"]
    assert "pictures in 'path', 2 classes in 'label', 2 classes in 'kind'" in caplog.text
    assert "not used: note" in caplog.text


def test_settings_win_over_guesses(tmp_path: Path) -> None:
    text = "path,other,label,age\na.png,b.png,x,30\nb.png,a.png,y,40\n"
    file = write(tmp_path, text)
    table = opened(file, picture_column="other", label_column="age")
    assert table.name(0) == "b.png"
    assert (table.classes, dict(table.tasks)) == (("30", "40"), {})
    table = opened(file, target_columns=("label", "age"))
    assert dict(table.tasks) == {"label": ("x", "y")}
    assert table.quantities == ("age",)


def test_parts_share_the_classes_of_the_whole_table(tmp_path: Path) -> None:
    text = "path,label,split\na.png,x,train\nb.png,y,train\nc.png,y,Validation\nd.png,z,test\n"
    file = write(tmp_path, text)
    assert table_parts(Table.Settings(path=file)) == ["test", "train", "val"]
    parts = {split: opened(file, split=split) for split in ("train", "val", "valid", "test")}
    assert [len(part) for part in parts.values()] == [2, 1, 1, 1]
    assert all(part.classes == ("x", "y", "z") for part in parts.values())
    assert [labels(part) for part in parts.values()] == [[0, 1], [1], [1], [2]]
    assert len(opened(file)) == 2


def test_paths_begin_where_the_settings_say(tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / "tables").mkdir()
    file = tmp_path / "tables" / "labels.csv"
    file.write_text("path,label\na.png,x\nb.png,y\n", encoding="utf-8-sig")
    assert opened(file, folder=tmp_path).sample(1).picture.shape == (8, 10, 3)
    with pytest.raises(ValueError, match=r"2 of 2 pictures .*'a.png' of line 2: set folder"):
        opened(file)


def test_one_channel_can_be_asked_for(tmp_path: Path) -> None:
    table = opened(write(tmp_path, "path,label\na.png,x\nb.png,y\n"), channels=1)
    assert table.sample(0).picture.shape == (8, 10, 1)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", {}, "has no rows"),
        ("path,label\n", {}, "has no rows"),
        ("path,label\na.png,x\na.png,y\n", {}, "lines 2 and 3 both name a.png: remove one"),
        ("path,label\na.png,x\nb.png,\n", {}, "line 3: label is missing: fill it in"),
        ("path,age\na.png,3\nb.png,nan\n", {}, "line 3: age is missing"),
        ("path,age\na.png,3\nb.png,\n", {"target_columns": ("age",)}, "line 3: age is missing"),
        ("path,label\na.png,x\nb.png\n", {}, "line 3: 1 cells where the header names 2"),
        ("path,path\na.png,x\n", {}, "every column needs its own name"),
        ("path,label\na.png,x\nzz.png,y\n", {}, "1 of 2 pictures .*'zz.png' of line 3"),
        ("path,label\na.png,x\n", {"label_column": "lable"}, "set label_column to one of: path"),
        ("path,label\na.png,x\n", {"target_columns": ("q",)}, "set target_columns to one of"),
        ("path,label\na.png,x\n", {"picture_column": "q"}, "set picture_column to one of"),
        ("path,label\na.png,x\n", {"split": "val"}, "has no parts: leave out split"),
        ("path,split\na.png,train\n", {"split": "val"}, "no part 'val': set split to one of: tr"),
        ("a,b\n1,2\n", {}, "no column looks like paths of pictures: set picture_column"),
        ('path,label\n"a.png,x\n', {}, "not a CSV file"),
    ],
)
def test_mistakes_get_a_clear_sentence(
    tmp_path: Path, text: str, settings: dict[str, Any], message: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ValueError, match=message):
        opened(file, **settings)


def test_a_missing_or_binary_table_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no table"):
        opened(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"path,label\n\xff\xfe,x\n")
    with pytest.raises(ValueError, match="not a CSV file in UTF-8"):
        opened(tmp_path / "binary.csv")


def test_changed_labels_change_the_fingerprint(tmp_path: Path) -> None:
    prints = {
        opened(write(tmp_path, f"path,label,age\na.png,x,{age}\nb.png,{name},2\n")).fingerprint()
        for name, age in (("y", 3), ("x", 3), ("y", 4))
    }
    assert len(prints) == 3
    again = opened(write(tmp_path, "path,label,age\na.png,x,3\nb.png,y,2\n")).fingerprint()
    assert again in prints


def test_labels_survive_being_split(tmp_path: Path) -> None:
    text = "path,age,part\na.png,1,test\nb.png,2,train\nc.png,3,test\nd.png,4,train\n"
    table = opened(write(tmp_path, text))
    np.testing.assert_array_equal([table.labels(i)["age"] for i in range(2)], [2, 4])
    assert [table.name(i) for i in range(2)] == ["b.png", "d.png"]


def test_a_parquet_table_reads_as_the_same_text(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "path": ["a.png", "b.png", "c.png", "d.png"],
        "label": [10, 9, 10, 9],
        "hat": [True, False, True, True],
        "age": [1.5, 2.0, -1.0, 4.0],
        "box": [[0, 1], [2, 3], [4, 5], [6, 7]],
    }
    write(tmp_path, "")
    parquet.write_table(pa.table(columns), tmp_path / "labels.parquet")
    table = opened(tmp_path / "labels.parquet")
    assert (table.classes, labels(table)) == (("9", "10"), [1, 0, 1, 0])
    assert table.labels(0) == {"label": 1, "hat": 1, "age": 1.5}
    assert dict(table.tasks)["hat"] == ("no", "yes")
    assert table.sample(2).picture[0, 0].tolist() == [2, 5, 5]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"path": ["a.png", "b.png", "c.png"], "label": ["x", None, None]},
            r"row 2: label is missing: .* \(2 of 3 pictures have none\)",
        ),
        ({"path": ["a.png", "a.png"]}, "rows 1 and 2 both name"),
        ({"path": ["a.png", "zz.png"]}, "'zz.png' of row 2"),
        ({"image": [b"\xff\xd8\xff"]}, r"set data\.source\.kind=huggingface"),
        ({"path": pa.array([], pa.string())}, "has no rows"),
    ],
)
def test_mistakes_in_a_parquet_table(tmp_path: Path, columns: Any, message: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path, "")
    parquet.write_table(pa.table(columns), tmp_path / "labels.parquet")
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "labels.parquet")


def test_a_damaged_parquet_table(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        opened(tmp_path / "a.parquet")


def test_holes_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path, "path,label\na.png,x\nb.png,\nc.png,\nd.png,y\n")
    with pytest.raises(ValueError, match=r"line 3: label is missing: .*\(2 of 4 pictures"):
        opened(file)
