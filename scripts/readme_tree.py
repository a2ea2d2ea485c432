"""Writes the README's tree, one line per file from its first docstring; `--check` only compares."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- tree -->", "<!-- /tree -->"


def first_sentence(path: Path) -> str:
    """What a file is for: the first line of its docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = docstring.strip().split("\n")[0].rstrip(".")
    return re.sub(r"`(jepa [a-z ]+)`: ", r"\1: ", line)


def tree() -> str:
    """The package as a text tree."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/jepakit"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    files = sorted(
        (Path(name) for name in listed if name.endswith(".py") and (ROOT / name).exists()),
        key=lambda path: (path.parent.parts, path.name),
    )
    lines: list[str] = []
    folder = None
    for path in files:
        if path.parent != folder:
            folder = path.parent
            lines.append(f"{'/'.join(folder.parts)}/")
        if path.name == "__init__.py":
            lines[-1] = f"{lines[-1]:<44}{first_sentence(ROOT / path)}"
            continue
        lines.append(f"{'  ' + path.name:<44}{first_sentence(ROOT / path)}")
    return "\n".join(lines)


def main() -> int:
    """Renew the tree in the README, or compare."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    renewed = f"{before}{BEGIN}\n```\n{tree()}\n```\n{END}{after}"
    if "--check" in sys.argv:
        if renewed != text:
            print("the README's tree is out of date: run `make format`")
            return 1
        return 0
    readme.write_text(renewed, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
