"""Writing sections as one self-contained HTML page: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import count
from pathlib import Path
from string import Template

from jepakit.core.files import write_text
from jepakit.visualization.page_style import style_sheet
from jepakit.visualization.sections import Section

# The policy makes the browser itself refuse anything that is not in the file.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>$title</h1>
$lead$contents</header>
<main id="content">
$body</main>
<footer>$footer</footer>
</body>
</html>
""")


def write_page(
    path: str | Path, title: str, sections: Iterable[Section], lead: str = "", footer: str = ""
) -> None:
    """Write the page to `path`: complete or not at all, also where an older one stood."""
    chapters = _chapters(sections)
    headed = [(anchor, heading) for anchor, heading, _ in chapters if heading]
    page = _PAGE.substitute(
        title=escape(title),
        style=style_sheet(),
        lead=f'<p class="lead">{escape(lead)}</p>\n' if lead else "",
        contents=_contents(headed) if len(headed) > 1 else "",
        body="".join(_chapter(*chapter) for chapter in chapters),
        footer=escape(footer or "Written by jepakit. Everything on this page is in this one file."),
    )
    write_text(Path(path), page)


def _chapters(sections: Iterable[Section]) -> list[tuple[str, str, list[str]]]:
    """Anchor, heading and parts of each chapter."""
    chapters: list[tuple[str, str, list[str]]] = []
    anchors = count(1)
    for section in sections:
        if section.heading or not chapters:
            chapters.append((f"part-{next(anchors)}", section.heading, []))
        chapters[-1][2].append(section.html())
    return chapters


def _chapter(anchor: str, heading: str, parts: Sequence[str]) -> str:
    if not heading:
        return f'<section id="{anchor}">\n{"".join(parts)}</section>\n'
    title = f'<h2 id="{anchor}-title">{escape(heading)}</h2>\n'
    return (
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n'
        f"{title}{''.join(parts)}</section>\n"
    )


def _contents(headed: Sequence[tuple[str, str]]) -> str:
    links = "".join(f'<li><a href="#{a}">{escape(heading)}</a></li>\n' for a, heading in headed)
    return f'<nav aria-label="On this page"><ul>\n{links}</ul></nav>\n'
