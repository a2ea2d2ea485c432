"""jepa studio: a local page on which one hides a box of a picture and sees what models expect."""

from __future__ import annotations

import os
import tempfile
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console

from jepakit.commands.visualize import Asked as AskedOfDrawings
from jepakit.commands.visualize import open_looking
from jepakit.core.devices import choose_device, choose_precision
from jepakit.core.settings import Settings
from jepakit.pretrained.names import names_and_settings
from jepakit.runs.model_inputs import ModelInputs
from jepakit.runs.seeing.looking import Looking
from jepakit.runs.seeing.settings import SeeingSettings
from jepakit.runs.studio.imagining import open_imagine
from jepakit.runs.studio.opening import studio_of
from jepakit.runs.studio.serving import address, is_local, listen, new_app, serve
from jepakit.runs.weights import load_weights
from jepakit.runs.yaml_file import apply_overrides, check

_EXAMPLES = {"num_pictures": 12}


class Asked(Settings):
    """What was typed."""

    data: str | None
    decoder: str | None
    size: int | None
    precision: Literal["auto", "fp32", "bf16"]
    split: str | None
    values: str | None
    device: str
    host: str
    port: int | None
    open: bool


def studio(words: Sequence[str], typed: Mapping[str, Any]) -> int:
    """Open the models, say where the page is, and answer until Ctrl-C."""
    console = Console()
    asked = check(Asked, dict(typed))
    names, overrides = names_and_settings(words)
    settings = check(SeeingSettings, apply_overrides(dict(_EXAMPLES), overrides))
    with _without_traces():
        from jepakit.runs.studio.page import mount_page  # the one that needs gradio

        looking = open_all(names, asked, settings)
        decoder = asked.decoder
        imagine = None if decoder is None else open_imagine(decoder, looking[0])
        for one in looking:
            console.print(one.loaded.report.sentence, style="dim", markup=False, soft_wrap=True)
        app = mount_page(new_app(asked.host), studio_of(looking, imagine))
        opened = listen(asked.host, asked.port)
        if not is_local(asked.host):
            console.print(
                f"--host {asked.host}: everybody who reaches this machine can use the page and see "
                "these pictures, without a password",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )
        url = address(opened)
        console.print(f"open {url}  (Ctrl-C ends it)", markup=False, highlight=False)
        if asked.open:
            webbrowser.open(url)
        serve(app, opened)
    return 0


def open_all(names: Sequence[str], asked: Asked, settings: SeeingSettings) -> list[Looking]:
    """Every model before the same pictures: those that are named, or the first run's own."""
    if not names:
        raise ValueError("name a model: jepa studio runs/NAME")
    of_drawings = {"model": names[0], "what": None, "out": None}
    given = {
        name: getattr(asked, name) for name in AskedOfDrawings.model_fields.keys() - of_drawings
    }
    _, first = open_looking(check(AskedOfDrawings, {**of_drawings, **given}), settings)
    device = choose_device(asked.device)
    precision = choose_precision(device, asked.precision)
    found = [first]
    for name in names[1:]:
        loaded = load_weights(name, device)
        size = ModelInputs(loaded).centre_view(asked.size).size
        found.append(Looking(loaded, first.source, size, settings, device, precision))
    return found


@contextmanager
def _without_traces() -> Iterator[None]:
    """Gradio counts nothing, asks nobody for its newest version, and leaves no file behind."""
    with tempfile.TemporaryDirectory(prefix="jepakit-studio-") as place:
        os.environ["GRADIO_TEMP_DIR"] = place
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        yield
