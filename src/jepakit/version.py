"""The package's version, readable without importing torch."""

__version__ = "0.1.0"


def code_version() -> str:
    """The version, and a digest of the package's own source: equal where the code is equal."""
    import hashlib
    from pathlib import Path

    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return f"{__version__} ({digest.hexdigest()[:12]})"
