"""Models on the Hugging Face Hub: downloaded once and kept, pinned if asked for, and published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HUB = "hf:"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ("*.json", "*.safetensors", "README.md")


def is_hub_name(name: str) -> bool:
    """Whether this could be `ORG/NAME` on the Hub."""
    return _NAME.fullmatch(name) is not None


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder of a model, `ORG/NAME` or `ORG/NAME@REVISION`, downloaded unless it is there.

    What was downloaded before is used without a connection. Shows progress. `ValueError` if there
    is no such model or it cannot be had. Only JSON and safetensors are fetched: nothing to run.
    """
    name, _, pinned = name.partition("@")
    if not is_hub_name(name):
        raise ValueError(
            f"{name!r} is no name on the Hub: write hf:ORG/NAME or hf:ORG/NAME@REVISION"
        )
    hub = _hub()
    wanted: dict[str, Any] = {
        **{"repo_id": name, "revision": pinned or revision},
        "allow_patterns": list(_FILES),
    }
    try:
        return Path(hub.snapshot_download(**wanted))
    except hub.errors.RepositoryNotFoundError:
        reason = f"the Hub has no open model {name}: check the name, or run `hf auth login`"
    except hub.errors.RevisionNotFoundError:
        reason = f"the model {name} has no revision {wanted['revision']}: leave it out, or check it"
    except (OSError, hub.errors.EntryNotFoundError) as error:
        reason = (
            f"the model {name} is not on this machine and the Hugging Face Hub cannot be reached: "
            f"connect once, or give a folder ({_first_line(error)})"
        )
    raise ValueError(reason)


def publish(folder: Path, name: str, private: bool = False) -> str:
    """Upload a folder as the model `ORG/NAME`; its address. `ValueError` with one sentence."""
    if not is_hub_name(name):
        raise ValueError(f"{name!r} is no name on the Hub: write --push ORG/NAME")
    hub = _hub()
    api = hub.HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="Upload I-JEPA model with jepakit"
        )
    except Exception as error:  # noqa: BLE001 - the Hub's client changed its errors more than once
        raise ValueError(
            f"{name} cannot be published: run `hf auth login` and check the network "
            f"({_first_line(error)}); the folder {folder} is written"
        ) from None
    return f"{api.endpoint}/{name}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors  # not there before it is asked for
    except ImportError:
        raise ValueError(
            "models of the Hub need the package huggingface_hub: pip install 'jepakit[hub]'"
        ) from None
    return huggingface_hub
