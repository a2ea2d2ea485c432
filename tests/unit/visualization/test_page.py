"""The page: well-formed, accessible, self-contained, escaped, legible in light and dark."""

import base64
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jepakit.visualization import Code, Facts, Gallery, Picture, Table, Text, write_page
from jepakit.visualization.curves import Curve, draw_curves
from jepakit.visualization.page_style import DARK, LIGHT

VOID = {"meta", "img", "br", "link", "hr", "input"}
EVIL = "<script>alert(1)</script>\"' & $title"
LOSS = draw_curves({"loss": Curve(np.arange(3), np.array([3.0, 2.0, 1.0]))})[0]


class Outline(HTMLParser):
    """Collects tags with attributes and words, and insists on balance."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        assert len(dict(attributes)) == len(attributes), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def picture(height: int = 4, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def every_section(words: str) -> list:
    return [
        Text(words, heading=words),
        Text(f"{words}\n\nmore", tone="warning"),
        Facts(((words, words),)),
        Picture(picture(), alt=words, caption=words, columns=(words, words)),
        Picture(LOSS.svg, alt=words),
        Gallery((Picture(picture(), words), Picture(LOSS.svg, LOSS.words)), words, heading="Two"),
        Table((words, "a"), ((words, 1.0), (words, words)), caption=words, heading="Three"),
        Code(words),
    ]


def read(path: Path) -> tuple[str, Outline]:
    html = path.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(html)
    outline.close()
    assert outline.open == []
    return html, outline


@pytest.fixture
def page(tmp_path: Path) -> tuple[str, Outline]:
    write_page(tmp_path / "new" / "page.html", EVIL, every_section(EVIL), lead=EVIL, footer=EVIL)
    assert os.listdir(tmp_path / "new") == ["page.html"], "nothing unfinished is left beside it"
    return read(tmp_path / "new" / "page.html")


def test_every_word_is_escaped(page: tuple[str, Outline]) -> None:
    html, outline = page
    assert "<script" not in html
    assert outline.all("script") == []
    assert outline.words.count(EVIL) >= 15, "and shown as given"
    assert EVIL in [attributes.get("alt") for attributes in outline.all("img")]


def test_nothing_is_loaded_from_elsewhere(page: tuple[str, Outline]) -> None:
    html, outline = page
    assert not re.search(r"https?:|url\(|@import", html)
    addresses = [a[key] for _, a in outline.tags for key in ("src", "href") if key in a]
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    policy = next(a for a in outline.all("meta") if a.get("http-equiv"))["content"]
    assert "default-src 'none'" in policy


def test_pictures_tables_and_landmarks_are_accessible(page: tuple[str, Outline]) -> None:
    _, outline = page
    assert all(attributes.get("alt") for attributes in outline.all("img"))
    drawings = [a for a in outline.all("div") if a.get("class") == "drawing"]
    assert len(drawings) == 2
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    assert {a.get("scope") for a in outline.all("th")} == {"col", "row"}
    for landmark in ("header", "main", "footer", "nav", "h1"):
        assert len(outline.all(landmark)) == 1
    assert outline.all("html")[0]["lang"] == "en"
    anchors = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(set(anchors)) == len(anchors)
    assert {a["href"][1:] for a in outline.all("a")} <= set(anchors)
    assert {a["aria-labelledby"] for a in outline.all("section")} <= set(anchors)


@pytest.mark.parametrize("kind", ["noise", "flat"])
def test_pictures_survive_their_encoding(tmp_path: Path, kind: str) -> None:
    image = picture(64, 96) if kind == "noise" else np.full((64, 96, 3), (200, 30, 90), np.uint8)
    write_page(tmp_path / "page.html", "t", [Picture(image, "noise")])
    _, outline = read(tmp_path / "page.html")
    shown = outline.all("img")[0]
    assert (shown["width"], shown["height"]) == ("96", "64")
    data = base64.b64decode(shown["src"].split(",")[1])
    decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(decoded.astype(int) - image).mean() < 6


def table_cells(tmp_path: Path, table: Table) -> tuple[list[str], list[str]]:
    """All cells as written, and those marked as best."""
    write_page(tmp_path / "page.html", "t", [table])
    html, _ = read(tmp_path / "page.html")
    cells = re.findall(r"<td[^>]*>(?:<span>)?([^<]*)", html)
    return cells, re.findall(r'class="best"><span>([^<]*)', html)


ROWS = (("a", 1.26, 5, None), ("b", 1.34, 7, 2.0), ("c", 1.31, float("nan"), "no"))


def test_best_numbers_are_marked_per_column_as_they_read(tmp_path: Path) -> None:
    header = ("name", "x", "y", "z")
    cells, best = table_cells(tmp_path, Table(header, ROWS, best="highest"))
    assert cells == ["1.3", "5", "–", "1.3", "7", "2.0", "1.3", "–", "no"]
    assert best == ["1.3", "1.3", "7", "1.3"], "what reads the same is equally good"
    assert table_cells(tmp_path, Table(header, ROWS, best="lowest", decimals=2))[1] == ["1.26", "5"]
    assert table_cells(tmp_path, Table(header, ROWS))[1] == []


def test_an_older_page_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(path, "old", [Text("x" * 5000)])
    write_page(path, "new", [Text("y")])
    html, _ = read(path)
    assert "<h1>new</h1>" in html
    assert "xxx" not in html


def test_an_empty_page_is_a_page(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "nothing yet", [])
    _, outline = read(tmp_path / "page.html")
    assert outline.all("nav") == []


def test_bad_parts_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="alt text"):
        Picture(picture(), alt=" ")
    with pytest.raises(ValueError, match="<svg"):
        Picture("<?xml version='1.0'?><svg/>", alt="a curve")
    with pytest.raises(ValueError, match="needs 2 cells"):
        Table(("a", "b"), (("only one",),))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_sufficient(palette: dict[str, str]) -> None:
    assert LIGHT.keys() == DARK.keys()
    words = [(ink, ground) for ink in ("ink", "quiet", "accent") for ground in ("paper", "card")]
    words += [("accent", "wash"), ("good", "good-wash"), ("warning", "warning-wash")]
    words += [("ink", "good-wash"), ("ink", "warning-wash"), ("warning", "card")]
    for ink, ground in words:
        assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)
    for series in [name for name in palette if name.startswith("series")]:
        assert contrast(palette[series], palette["card"]) >= 3, series


def test_a_shaded_table_is_darker_where_more_of_a_row_is() -> None:
    table = Table(("is", "red", "blue"), (("red", 9, 1), ("blue", 0, 0)), shaded=True)
    assert '--share:0.900">9<' in table.html()
    assert '--share:0.100">1<' in table.html()
    assert "nan" not in table.html()
    assert "--share" not in Table(("is", "red"), (("red", 9),)).html()
