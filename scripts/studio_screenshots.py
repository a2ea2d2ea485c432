"""Writes docs/studio.png and docs/studio-360.png: a browser before `jepa studio WORDS`.

python scripts/studio_screenshots.py runs/scenes runs/scenes/checkpoints/step-00000140
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLE, BOX = 1, {"Row": 5, "Column": 5, "Height": 4, "Width": 4}


def main(words: list[str]) -> None:
    """Start the studio with these words, and look at it."""
    command = [sys.executable, "-m", "jepakit", "studio", *words, "--device", "cpu"]
    environment = {**os.environ, "COLUMNS": "400"}
    studio = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        take_all(_address(studio))
    finally:
        studio.terminate()
        studio.communicate()


def _address(studio: subprocess.Popen[str]) -> str:
    assert studio.stdout is not None
    for line in studio.stdout:
        if found := re.search(r"open (http://\S+/)", line):
            return found[1]
    raise SystemExit("the studio did not start")


def take_all(url: str) -> None:
    """Both pictures."""
    path = shutil.which("chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        for width, name in ((1440, "studio.png"), (360, "studio-360.png")):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.set_default_timeout(120_000)
            page.goto(url)
            take(page, DOCS / name)
            page.close()


def take(page: Page, path: Path) -> None:
    """The whole page after somebody used it."""
    _wait(page)
    page.get_by_role("button", name=f"Example {EXAMPLE}", exact=True).click()
    _wait(page)
    for name, number in BOX.items():
        page.get_by_role("group", name="Hidden box").get_by_label(name).fill(str(number))
    _wait(page)
    page.evaluate("document.activeElement.blur()")
    page.screenshot(path=path, full_page=True)
    Image.open(path).convert("RGB").save(path, optimize=True)


def _wait(page: Page) -> None:
    page.wait_for_timeout(1000)
    page.get_by_role("status").filter(has_text=re.compile("^Done")).wait_for()


if __name__ == "__main__":
    main(sys.argv[1:])
