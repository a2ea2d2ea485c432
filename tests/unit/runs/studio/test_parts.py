"""The fixed parts of the page hold the examples, escape names, and load nothing from elsewhere."""

from __future__ import annotations

import re

from jepakit.runs.studio import panels, parts
from jepakit.runs.studio.visit import Studio
from jepakit.visualization.page_style import DARK, LIGHT


def test_examples_are_buttons_with_names(studio: Studio) -> None:
    html = parts.picker(studio)
    assert html.count("data-example=") == 3
    assert re.findall('alt="(Example .)"', html) == ["Example 1", "Example 2", "Example 3"]
    assert "@" not in re.sub(r"data:image/[^\"]*", "", html)
    assert "20 MB" in html


def test_every_field_has_a_label(studio: Studio) -> None:
    html = parts.picker(studio)
    labelled = re.findall(r"<label>\w+ <input type=\"number\"", html)
    assert len(labelled) == html.count('"number"') == 6
    assert 'for="studio-file"' in html


def test_nothing_comes_from_elsewhere(studio: Studio) -> None:
    for text in (parts.picker(studio), parts.picker_script(), parts.style_sheet()):
        assert not re.search(r"https?://|//cdn|@import|url\(", text)


def test_names_are_escaped() -> None:
    assert "<i>" not in parts.header(["<i>"])
    assert "<i>" not in panels.panel("surprise", [("<i>", ""), ("b", "")])
    assert "<i>" not in panels.note("<i>")


def test_both_palettes_are_there() -> None:
    sheet = parts.style_sheet()
    assert f":root{{--paper:{LIGHT['paper']}" in sheet
    assert f".dark{{--paper:{DARK['paper']}" in sheet
    assert "prefers-reduced-motion" in sheet
