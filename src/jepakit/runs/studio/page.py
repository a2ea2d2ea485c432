"""The studio as a gradio page: its layout, and which event changes what."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jepakit.runs.studio import panels
from jepakit.runs.studio.panels import Panel
from jepakit.runs.studio.parts import header, picker, picker_script, style_sheet
from jepakit.runs.studio.visit import Studio, Visit

try:
    import gradio
except ImportError:
    raise ValueError("the studio needs gradio: pip install 'jepakit[studio]'") from None

_MOST_VISITORS = 32  # the one that came first is forgotten
_LISTEN: dict[str, Any] = {
    "show_progress": "hidden",
    "trigger_mode": "multiple",  # a new box ends the look at the one before
    "concurrency_limit": None,
    "api_visibility": "private",
}
_PLAIN: dict[str, Any] = {"apply_default_css": False, "padding": False}
Changes = Callable[[Visit], None]
# gradio sends what was told last once more at the end, when a newer look may have told something.
_NOTHING_NEW = gradio.skip()
# Quick ticks may overtake each other on their way: each says when it was made.
_WITH_THE_TIME = "(names) => [names, performance.timeOrigin + performance.now()]"


def mount_page(app: Any, studio: Studio) -> Any:
    """Put the page at the root of an ASGI app, without anything that talks to others."""
    return gradio.mount_gradio_app(
        app,
        Page(studio).blocks,
        "/",
        server_name="127.0.0.1",
        theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        head=f"<style>{style_sheet()}</style>",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )


class Page:
    """The components, and the visits of the browsers that have the page open."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.names = [looker.name for looker in studio.lookers]
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._meeting = threading.Lock()
        with gradio.Blocks(analytics_enabled=False, title="jepakit studio") as self.blocks:
            self._lay_out()
            self._connect()

    def visit(self, browser: str) -> Visit:
        """What a browser looks at; a new one begins with the first example."""
        with self._meeting:
            if browser not in self._visits:
                self._visits[browser] = Visit(self.studio)
                self._visits[browser].show_example(0)
                while len(self._visits) > _MOST_VISITORS:
                    self._visits.popitem(last=False)
            return self._visits[browser]

    def forget(self, request: gradio.Request) -> None:
        """The page was closed: its picture goes."""
        with self._meeting:
            self._visits.pop(str(request.session_hash), None)

    def _lay_out(self) -> None:
        gradio.HTML(header(self.names), elem_id="studio-header", **_PLAIN)
        with gradio.Row(elem_id="studio-columns", equal_height=False):
            with gradio.Column(scale=2, min_width=280, elem_id="studio-left"):
                self.models = gradio.CheckboxGroup(
                    self.names,
                    value=self.names[:2],
                    label="Models side by side",
                    visible=len(self.names) > 1,
                    elem_id="studio-models",
                )
                self.when = gradio.Number(visible=False)  # filled by the browser as a tick is sent
                self.picker = gradio.HTML(
                    html_template=picker(self.studio),
                    js_on_load=picker_script(),
                    **_PLAIN,
                    scene=None,
                    told=None,
                )
            with gradio.Column(scale=3, min_width=280, elem_id="studio-right"):
                kinds: list[Panel] = ["surprise", "expected", "imagined", "resemblance"]
                if self.studio.imagine is None:
                    kinds.remove("imagined")
                self.panels: dict[Panel, gradio.HTML] = {
                    kind: gradio.HTML(panels.panel(kind, [("", panels.note("…"))]), **_PLAIN)
                    for kind in kinds
                }

    def _connect(self) -> None:
        def on_picture(event: gradio.EventData, request: gradio.Request) -> Iterator[Any]:
            yield from self._follow(
                request, "picture", event.sent, lambda visit: visit.show_upload(event._data)
            )

        def on_example(event: gradio.EventData, request: gradio.Request) -> Iterator[Any]:
            yield from self._follow(
                request, "picture", event.sent, lambda visit: visit.show_example(event.number)
            )

        def on_box(event: gradio.EventData, request: gradio.Request) -> Iterator[Any]:
            yield from self._follow(
                request, "box", event.sent, lambda visit: visit.hide(event._data)
            )

        def on_patch(event: gradio.EventData, request: gradio.Request) -> Iterator[Any]:
            yield from self._follow(
                request, "patch", event.sent, lambda visit: visit.choose(event._data)
            )

        def on_models(names: list[str], sent: float, request: gradio.Request) -> Iterator[Any]:
            yield from self._follow(request, "models", sent, lambda visit: visit.compare(names))

        def on_open(request: gradio.Request) -> Iterator[Any]:
            yield from self._look(self.visit(str(request.session_hash)))

        shown = [self.picker, *self.panels.values()]
        self.picker.picture(on_picture, None, shown, **_LISTEN)
        self.picker.example(on_example, None, shown, **_LISTEN)
        self.picker.box(on_box, None, shown, **_LISTEN)
        self.picker.patch(on_patch, None, shown, **_LISTEN)
        self.models.input(on_models, [self.models, self.when], shown, js=_WITH_THE_TIME, **_LISTEN)
        self.blocks.load(on_open, None, shown, **_LISTEN)
        self.blocks.unload(self.forget)

    def _follow(
        self, request: gradio.Request, what: str, sent: float, change: Changes
    ) -> Iterator[Mapping[Any, Any]]:
        """Change what is looked at, unless a change sent later was here first; then tell it."""
        visit = self.visit(str(request.session_hash))
        if visit.change(what, sent, change):
            yield from self._look(visit)
            return
        told = {"status": visit.status, "problem": visit.problem}  # a look that goes on says it too
        yield {self.picker: gradio.HTML(told=told)}
        yield _NOTHING_NEW

    def _look(self, visit: Visit) -> Iterator[Mapping[Any, Any]]:
        """Tell what is seen, step by step."""
        for step in visit.look():
            picker: dict[str, Any] = {"told": {"status": step.status, "problem": visit.problem}}
            if scene := visit.new_scene():
                picker["scene"] = scene
            yield {
                self.picker: gradio.HTML(**picker),
                **{self.panels[kind]: html for kind, html in step.panels.items()},
            }
        yield _NOTHING_NEW
