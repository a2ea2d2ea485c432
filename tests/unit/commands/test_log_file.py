"""What a run's `log.txt` holds: what was asked for, and where nobody asked, how it went."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from jepakit.commands.pretrain import _logged_to


@pytest.mark.parametrize(
    ("level", "told"),
    [(logging.NOTSET, "it begins"), (logging.INFO, "it begins"), (logging.WARNING, "")],
)
def test_the_level_that_was_chosen_stays(level: int, told: str, tmp_path: Path) -> None:
    logger = logging.getLogger("jepakit")
    before = logger.level
    logger.setLevel(level)
    try:
        with _logged_to(tmp_path / "log.txt"):
            logger.info("it begins")
            logger.warning("it is late")
        assert logger.level == level
    finally:
        logger.setLevel(before)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line for line in lines if "it begins" in line] == lines[: bool(told)]
    assert lines[-1].endswith("WARNING it is late")
