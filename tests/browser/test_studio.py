"""The studio as people use it: pictures dropped, boxes dragged, keys pressed, mistakes made."""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from tests.browser.conftest import Running, wait_for_status

Visit = Callable[..., Any]
PANELS = ("Surprise", "What the model expects in the box", "What resembles the chosen patch")


def picture(colour: tuple[int, int, int]) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (200, 150), colour).save(file, "png")
    return {"name": "colour.png", "mimeType": "image/png", "buffer": file.getvalue()}


def panel(page: Any, heading: str) -> Any:
    return page.get_by_role("region", name=heading, exact=True)


def images(page: Any, heading: str) -> list[str]:
    """What a panel's pictures are, as addresses."""
    return panel(page, heading).locator("img").evaluate_all("all => all.map(one => one.src)")


def wait_for_another(page: Any, before: list[str]) -> None:
    """Until another picture has been looked at to the end."""
    changed = "before => { const one = document.querySelector('.panel img'); "
    changed += "return one && one.src !== before; }"
    page.wait_for_function(changed, arg=before[0])
    wait_for_status(page, "Done")


def numbers(page: Any, group: str) -> list[int]:
    fields = page.get_by_role("group", name=group).get_by_role("spinbutton")
    return [int(text) for text in fields.evaluate_all("all => all.map(one => one.value)")]


def at(page: Any, row: float, column: float, grid: int = 6) -> tuple[float, float]:
    """The pixel of a place that is counted in patches."""
    frame = page.locator("[data-stage]").bounding_box()
    return (
        frame["x"] + frame["width"] * column / grid,
        frame["y"] + frame["height"] * row / grid,
    )


def drag(page: Any, begin: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*begin)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()


def drop(page: Any, file: str, where: str = "[data-drop]") -> None:
    """Drop a file that a script makes."""
    data = page.evaluate_handle(
        f"() => {{ const data = new DataTransfer(); data.items.add({file}); return data; }}"
    )
    page.dispatch_event(where, "drop", {"dataTransfer": data})


def test_the_page_opens_with_an_example_and_says_what_it_shows(visit: Visit) -> None:
    page = visit()
    assert page.title() == "jepakit studio"
    assert page.locator("html").get_attribute("lang") == "en"
    for heading in PANELS:
        shown = panel(page, heading)
        assert shown.locator("h3").all_inner_texts() == ["fine", "coarse"]
        texts = shown.locator("img").evaluate_all("all => all.map(one => one.alt)")
        assert len(texts) == 4
        assert all(texts)
    assert page.get_by_role("button", name="Example 1").get_attribute("aria-pressed") == "true"


def test_a_picture_is_uploaded_a_box_dragged_and_the_results_follow(
    visit: Visit, studio: Running
) -> None:
    page = visit()
    before = {heading: images(page, heading) for heading in PANELS}
    page.get_by_label("Choose a picture").set_input_files(picture((250, 120, 10)))
    wait_for_another(page, before["Surprise"])
    uploaded = {heading: images(page, heading) for heading in PANELS}
    assert all(uploaded[heading] != before[heading] for heading in PANELS)
    pressed = page.locator("[data-example][aria-pressed=true]")
    assert pressed.count() == 0
    assert not [path for path in studio.temporary.rglob("*") if path.is_file()]  # it is not kept
    drag(page, at(page, 0.5, 0.5), at(page, 1.5, 2.5))  # a new one, drawn
    wait_for_status(page, "Done: the box hides rows 1 to 2, columns 1 to 3.")
    assert numbers(page, "Hidden box") == [1, 1, 2, 3]
    drawn = images(page, "Surprise")
    assert drawn != uploaded["Surprise"]
    assert images(page, PANELS[2]) == uploaded[PANELS[2]]
    drag(page, at(page, 0.5, 0.5), at(page, 3.5, 1.5))  # moved
    wait_for_status(page, "Done: the box hides rows 4 to 5, columns 2 to 4.")
    assert images(page, "Surprise") != drawn
    drag(page, at(page, 4.9, 3.9), at(page, 5.5, 5.5))  # its corner
    wait_for_status(page, "Done: the box hides rows 4 to 6, columns 2 to 6.")
    assert numbers(page, "Hidden box") == [4, 2, 3, 5]


def test_a_dropped_picture_is_looked_at(visit: Visit) -> None:
    page = visit()
    before = images(page, "Surprise")
    canvas = "const canvas = new OffscreenCanvas(64, 64); canvas.getContext('2d')"
    page.evaluate(
        f"async () => {{ {canvas}.fillRect(0, 0, 40, 40); "
        "window.drawn = new File([await canvas.convertToBlob()], 'drawn.png'); }"
    )
    drop(page, "window.drawn", where="h1")
    wait_for_another(page, before)
    assert images(page, "Surprise") != before


def test_everything_can_be_done_with_the_keyboard(visit: Visit) -> None:
    page = visit(reduced_motion="reduce")
    box = page.locator("[data-box]")
    assert box.evaluate("one => getComputedStyle(one).transitionProperty") == "none"
    names = []
    for _ in range(15):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                """() => { const one = document.activeElement;
                return one.getAttribute("aria-label") || one.labels?.[0]?.innerText.trim()
                    || one.querySelector("img")?.alt || one.tagName; }"""
            )
        )
    assert names == [
        *("fine", "coarse", "alone.safetensors", "Hidden box: rows 3 to 4, columns 3 to 4"),
        *("Row", "Column", "Height", "Width", "Row", "Column", "Choose a picture"),
        *(f"Example {number}" for number in range(1, 5)),
    ]
    box.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ArrowRight")
    wait_for_status(page, "Done: the box hides rows 2 to 3, columns 3 to 5.")
    assert numbers(page, "Hidden box") == [2, 3, 2, 3]
    page.keyboard.press("Tab")
    page.keyboard.type("5")
    page.keyboard.press("Tab")
    page.keyboard.type("1")
    wait_for_status(page, "Done: the box hides rows 5 to 6, columns 1 to 3.")
    assert box.get_attribute("aria-label") == "Hidden box: rows 5 to 6, columns 1 to 3"
    before = images(page, "Surprise")
    page.get_by_role("button", name="Example 3").focus()
    page.keyboard.press("Enter")
    wait_for_another(page, before)


def test_a_wrong_file_gives_a_message_and_changes_nothing(visit: Visit) -> None:
    page = visit()
    before = images(page, "Surprise")
    for name, content, told in (
        ("notes.txt", "['no picture']", "notes.txt cannot be used: it is not a picture"),
        ("large.png", "[new Uint8Array(21 * 2 ** 20)]", "large.png is too large: the studio takes"),
    ):
        drop(page, f"new File({content}, '{name}')")
        page.get_by_role("alert").filter(has_text=told).wait_for()
        assert images(page, "Surprise") == before
    page.get_by_role("button", name="Example 2").click()
    page.get_by_role("alert").filter(has_text="too large").wait_for(state="detached")


def test_an_impossible_box_gives_a_message_and_the_old_one_stays(visit: Visit) -> None:
    page = visit()
    fields = page.get_by_role("group", name="Hidden box")
    for name, typed, told in (
        ("Row", "6", "The box reaches outside of the picture: rows 6 to 7, and the picture has"),
        ("Height", "0", "is smaller than a patch"),
        ("Width", "", "The width is no whole number"),
    ):
        fields.get_by_label(name).fill(typed)
        page.get_by_role("alert").filter(has_text=told).wait_for()
        assert fields.get_by_label(name).get_attribute("aria-invalid") == "true"
    assert page.locator("[data-box]").get_attribute("aria-label") == (
        "Hidden box: rows 3 to 4, columns 3 to 4"
    )
    page.get_by_role("heading", level=1).click()  # leaving the fields: they tell what is looked at
    assert numbers(page, "Hidden box") == [3, 3, 2, 2]
    assert "The width is no whole number" in page.get_by_role("alert").inner_text()
    assert page.locator("[data-status]").inner_text().startswith("Done: the box hides rows 3 to 4")
    for name, typed in (("Row", "3"), ("Height", "2"), ("Width", "1")):
        fields.get_by_label(name).fill(typed)
    wait_for_status(page, "Done: the box hides rows 3 to 4, columns 3 to 3.")
    assert page.get_by_role("alert").count() == 0


def test_a_click_chooses_the_patch_that_is_compared(visit: Visit) -> None:
    page = visit()
    before = images(page, "Surprise")
    page.mouse.click(*at(page, 5.5, 0.5))
    shown = panel(page, "What resembles the chosen patch")
    shown.get_by_alt_text("resembles the patch in row 6, column 1:").wait_for()
    shown.get_by_alt_text("resembles the patch in row 4, column 1:").wait_for()  # the coarse grid
    assert numbers(page, "Patch to compare") == [6, 1]
    assert images(page, "Surprise") == before


def test_models_are_switched(visit: Visit) -> None:
    page = visit()
    page.get_by_label("coarse").uncheck()
    page.wait_for_function("document.querySelectorAll('.panel h3').length === 0")
    wait_for_status(page, "Done")
    alone = images(page, "Surprise")
    page.get_by_label("fine").uncheck()
    page.get_by_role("alert").filter(has_text="No model is chosen").wait_for()
    page.get_by_label("coarse").check()
    page.wait_for_function("document.querySelector('.panel img').src !== '" + alone[0] + "'")
    wait_for_status(page, "Done")
    assert len(images(page, "Surprise")) == len(alone) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(scheme: str, visit: Visit) -> None:
    page = visit(color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(246, 247, 251)", "dark": "rgb(16, 18, 26)"}[scheme]
    for width, num_tops in ((360, 2), (1440, 1)):  # below each other, side by side
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 30
        assert not {text: value for text, value in contrasts.items() if value < 4.5}
        tops = (
            page.locator(".panel")
            .first.locator(".model")
            .evaluate_all("all => all.map((one) => one.getBoundingClientRect().top)")
        )
        assert len(set(tops)) == num_tops


# Of each text that is shown: its contrast with the nearest background behind it (WCAG 2).
CONTRASTS = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => parts(colour).slice(0, 3).map((c) => c / 255)
        .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
    const behind = (one) => {
        const colour = getComputedStyle(one).backgroundColor;
        const opaque = (parts(colour)[3] ?? 1) > 0.9;
        return opaque || !one.parentElement ? colour : behind(one.parentElement);
    };
    const found = {};
    const texts = "h1,h2,h3,h4,p,label,legend,figcaption,span,input[type=number]";
    for (const one of document.querySelectorAll(texts)) {
        const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!(own || one.value) || !one.checkVisibility() || one.closest("[data-empty]")) continue;
        const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
        const name = `${one.tagName} ${(one.textContent || one.name).trim().slice(0, 30)}`;
        found[name] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }
    return found;
}"""


def asked(url: str, method: str, path: str, **headers: str) -> int:
    """The status of a request that no browser of ours would make."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request(method, path, body=b"x", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_door_is_closed_to_others(studio: Running) -> None:
    assert asked(studio.url, "GET", "/") == 200
    assert asked(studio.url, "GET", "/", Host="rebound.example") == 400
    assert asked(studio.url, "POST", "/gradio_api/upload") == 403
    assert asked(studio.url, "GET", "/docs") == 404


def test_a_model_without_predictor_says_so_and_shows_the_rest(visit: Visit) -> None:
    page = visit()
    page.get_by_label("alone.safetensors").check()
    page.get_by_label("fine").uncheck()
    page.get_by_label("coarse").uncheck()
    page.wait_for_function("document.querySelectorAll('.panel h3').length === 0")
    wait_for_status(page, "Done")
    for heading in PANELS[:2]:
        assert "alone.safetensors holds no predictor" in panel(page, heading).inner_text()
        assert not images(page, heading)
    assert len(images(page, PANELS[2])) == 2
