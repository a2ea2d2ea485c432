"""What changes on the page when something is changed, in which order, and what is told."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from jepakit.data.sources.source import BrokenPicture, Picture
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.studio.box import HiddenBox
from jepakit.runs.studio.opening import studio_of
from jepakit.runs.studio.visit import Studio, Visit

WORDS = {"row": 1, "column": 2, "height": 1, "width": 2}


def changed(visit: Visit) -> dict[str, str]:
    """The panels as they are in the end."""
    shown: dict[str, str] = {}
    for step in visit.look():
        shown |= step.panels
    return shown


@pytest.fixture
def visit(studio: Studio) -> Visit:
    new = Visit(studio)
    new.show_example(0)
    return new


def test_everything_follows_the_picture(visit: Visit) -> None:
    first = changed(visit)
    assert first.keys() == {"surprise", "expected", "resemblance"}
    assert changed(visit) == {}
    visit.show_example(1)
    second = changed(visit)
    assert all(second[kind] != first[kind] for kind in first)


def test_a_refused_change_leaves_what_was_said_of_the_look(visit: Visit) -> None:
    changed(visit)
    said = visit.status
    assert said.startswith("Done: the box hides rows")
    with pytest.raises(ValueError, match="smaller than a patch"):
        visit.hide(WORDS | {"height": 0})
    assert visit.status == said
    assert changed(visit) == {}


def test_an_example_that_is_broken_is_left_out(studio: Studio, monkeypatch: Any) -> None:
    looking = studio.lookers[0].looking
    chosen = sorted(looking.source.some(3, 0, "visualize").tolist())
    usual = looking.source.open

    def opened(index: int) -> Picture:
        if index == chosen[0]:
            raise BrokenPicture("scene", "it is damaged")
        return usual(index)

    monkeypatch.setattr(looking.source, "open", opened)
    assert looking.places == chosen[1:]
    assert len(studio.examples) == 2
    seen = studio.lookers[0].see(studio.example(0)).tile
    assert np.array_equal(seen, studio.examples[0])
    monkeypatch.setattr(looking.source, "open", lambda index: opened(chosen[0]))
    with pytest.raises(ValueError, match="Example 1 cannot be read any more"):
        Visit(studio).show_example(0)


def test_what_depends_on_the_box_follows_it_and_the_rest_stays(visit: Visit) -> None:
    first = changed(visit)
    visit.hide(WORDS)
    second = changed(visit)
    assert second.keys() == {"surprise", "expected"}
    assert second["surprise"] != first["surprise"]
    assert "rows 1 to 1, columns 2 to 3" in second["surprise"]
    visit.choose({"row": 1, "column": 1})
    assert changed(visit).keys() == {"resemblance"}


def test_the_box_comes_before_the_map_of_everything_and_the_map_is_made_once(
    visit: Visit,
) -> None:
    kinds = [kind for step in visit.look() for kind in step.panels]
    assert kinds == [
        *("surprise", "surprise"),  # one per model
        *("expected", "expected", "resemblance", "resemblance"),
        *("surprise", "surprise"),
    ]
    visit.hide(WORDS)
    steps = list(visit.look())
    assert [kind for step in steps for kind in step.panels] == ["surprise"] * 2 + ["expected"] * 2
    assert "waiting" not in steps[2].panels["surprise"]
    assert steps[-1].status == "Done: the box hides rows 1 to 1, columns 2 to 3."


def test_a_new_box_ends_the_look_at_the_old_one_and_nothing_is_forgotten(visit: Visit) -> None:
    old = visit.look()
    next(old), next(old)
    visit.hide(WORDS)
    new = visit.look()
    next(new)
    assert list(old) == []
    kinds = {kind for step in new for kind in step.panels}
    assert kinds == {"surprise", "expected", "resemblance"}


def test_changes_that_overtake_each_other_end_with_the_one_made_last(visit: Visit) -> None:
    names = [looker.name for looker in visit.studio.lookers]
    assert visit.change("models", 2.0, lambda one: one.compare(names[1:2]))
    assert not visit.change("models", 1.0, lambda one: one.compare(names[:1]))
    assert visit.shown == (1,)
    assert visit.change("box", 1.0, lambda one: one.hide(WORDS))  # of another kind
    assert not visit.change("models", 3.0, lambda one: one.compare([]))
    assert visit.problem == "No model is chosen: tick at least one."
    assert visit.change("models", 4.0, lambda one: one.compare(names[:1]))
    assert (visit.shown, visit.problem) == ((0,), "")


def test_a_change_while_a_panel_is_drawn_is_not_forgotten(visit: Visit) -> None:
    look, shown = visit.look(), dict[str, str]()
    for step in look:
        shown |= step.panels
        if "surprise" in shown:  # drawn, and not yet marked as up to date
            visit.hide(WORDS)
            break
    assert list(look) == []
    assert "surprise" in changed(visit)


def test_a_mistake_changes_nothing(visit: Visit) -> None:
    changed(visit)
    box = visit.box
    for mistake, told in (
        (lambda: visit.hide({**WORDS, "row": 9}), "reaches outside"),
        (lambda: visit.choose({"row": 0, "column": 1}), "no patch"),
        (lambda: visit.show_example(3), "There is no example 4"),
        (lambda: visit.show_upload({"name": "a.txt", "content": "aGVsbG8="}), "cannot be used"),
        (lambda: visit.compare([]), "No model is chosen"),
    ):
        with pytest.raises(ValueError, match=told):
            mistake()
    assert visit.box == box
    assert changed(visit) == {}


def test_models_stand_side_by_side_or_alone(visit: Visit, studio: Studio) -> None:
    both = changed(visit)
    names = [looker.name for looker in studio.lookers]
    for kind, html in both.items():
        assert re.findall("<h3>(.*?)</h3>", html) == names, kind
    visit.compare(names[1:])
    alone = changed(visit)
    assert alone.keys() == both.keys()
    assert not any("<h3>" in html for html in alone.values())


def test_a_model_without_predictor_says_so_and_shows_the_rest(
    looks: list[Looking], without_predictor: Looking
) -> None:
    named = replace(without_predictor, loaded=replace(without_predictor.loaded, name="alone"))
    visit = Visit(studio_of([looks[0], named]))
    visit.show_example(0)
    shown = changed(visit)
    for kind in ("surprise", "expected"):
        assert shown[kind].count("alone holds no predictor and no context encoder") == 1
        assert "<img" in shown[kind]
    assert "holds no" not in shown["resemblance"]
    assert shown["resemblance"].count("<img") == 4


def test_a_box_that_fills_a_coarser_grid_is_told_in_its_column(
    looks: list[Looking],
) -> None:
    visit = Visit(studio_of([looks[1], looks[0]]))
    visit.show_example(0)
    visit.hide({"row": 1, "column": 1, "height": 8, "width": 7})
    shown = changed(visit)
    assert shown["expected"].count("hides the whole picture") == 1


def test_samples_of_a_decoder_stream_in(looks: list[Looking]) -> None:
    asked = []

    def imagine(views: Tensor, box: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
        asked.append((tuple(views.shape), tuple(box), tuple(seeds)))
        return np.full((len(seeds), 32, 32, 3), 10 * seeds[0], np.uint8)

    visit = Visit(studio_of(looks, imagine))
    visit.show_example(0)
    visit.box = HiddenBox(1, 1, 2, 1)
    counts = [
        step.panels["imagined"].count("<img") for step in visit.look() if "imagined" in step.panels
    ]
    assert counts == [1, 2, 3, 4, 4]  # the last is the second model, which has no decoder
    assert asked == [((1, 3, 32, 32), (8, 8, 16, 8), (seed,)) for seed in range(4)]


def test_an_upload_is_seen_and_only_what_is_seen_is_kept(visit: Visit) -> None:
    changed(visit)
    visit.new_scene()
    file = io.BytesIO()
    Image.new("RGB", (640, 480), (250, 120, 10)).save(file, "png")
    content = base64.b64encode(file.getvalue()).decode()
    visit.show_upload({"name": "orange.png", "content": content})
    scene = visit.new_scene()
    assert scene is not None
    assert scene["example"] == -1
    assert (scene["rows"], scene["columns"]) == (4, 4)
    assert scene["image"].startswith("data:image/")
    json.dumps(scene)
    assert visit.new_scene() is None
    kept = [sight.views.shape for sight in visit._sights]
    assert kept == [(1, 3, 32, 32)] * 2
    assert (visit._sights[0].tile == (250, 120, 10)).all()
