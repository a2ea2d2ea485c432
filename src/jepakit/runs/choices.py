"""Settings that are chosen for a user, and why: shown beside what the user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass
class Choices:
    """Settings chosen so far, and why."""

    content: dict[str, Any] = field(default_factory=dict)
    reasons: list[tuple[str, str, str]] = field(default_factory=list)

    def take(self, name: str, value: Any, why: str) -> None:
        """Choose a setting."""
        place = self.content
        *path, last = name.split(".")
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
        self.reasons.append((name, str(value), why))

    def table(self, given: Mapping[str, str]) -> Table:
        """What was chosen and why; what was `given` has the last word."""
        table = Table(title="Chosen for these pictures and this device", title_justify="left")
        for heading in ("setting", "value", "why"):
            table.add_column(heading, overflow="fold")
        for row in self.reasons:
            if not any(row[0] == name or row[0].startswith(f"{name}.") for name in given):
                table.add_row(*row)
        for name, value in given.items():
            table.add_row(name, value, "as you wrote")
        return table


def section(content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The settings below a name, in the form of a YAML file; empty without any."""
    for name in path:
        inner = content.get(name)
        content = inner if isinstance(inner, dict) else {}
    return content
