"""Finds Hugging Face data sets, on this machine or on the Hub, with the package datasets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepakit.core.errors import RunFailed

_SECONDS_TO_ANSWER = 10.0
_SECONDS_FOR_A_SIGN = 5.0
_LOCAL_ENDINGS = (".parquet", ".arrow")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")
_OTHER_NAMES = {"val": ("validation", "valid", "dev"), "validation": ("val", "valid", "dev")}


@dataclass(frozen=True)
class Wanted:
    """What the settings ask for."""

    path: str
    name: str | None
    revision: str | None
    split: str | None

    @property
    def local(self) -> Path | None:
        """The file or folder on this machine; None: a URL, or a name on the Hub."""
        path = Path(self.path).expanduser()
        if "://" in self.path:
            return None
        if path.exists():
            return path
        if path.is_absolute() or path.suffix in _LOCAL_ENDINGS or not _is_hub_name(self.path):
            raise ValueError(
                f"there is no {path}: set data.source.path to a file, a folder or a name on the Hub"
            )
        return None


def open_mapped(wanted: Wanted) -> tuple[Any, str]:
    """A `datasets.Dataset` on this machine, downloaded if need be, and the part that it is."""
    datasets = _datasets()
    local = wanted.local
    with _told_in_a_sentence(wanted, datasets):
        if local and local.suffix == ".arrow":
            found = {"train": datasets.Dataset.from_file(str(local))}
        elif local and any((local / f).is_file() for f in ("state.json", "dataset_dict.json")):
            found = datasets.load_from_disk(str(local))
        else:
            found = datasets.load_dataset(**_loading(wanted))
    if not isinstance(found, Mapping):
        return found, str(found.split or "all")
    part = choose_part(list(found), wanted)
    return found[part], part


def find_parquet(wanted: Wanted) -> tuple[list[str], str]:
    """Paths or URLs of the Parquet files of a part, and the part's name."""
    datasets = _datasets()
    if wanted.path.endswith(".parquet"):
        local = wanted.local
        part = choose_part(["train"], wanted)
        return ([str(local)] if local else _numbered(wanted.path)), part
    with _told_in_a_sentence(wanted, datasets):
        builder = datasets.load_dataset_builder(**_loading(wanted))
    files = {str(part): some for part, some in (builder.config.data_files or {}).items()}
    part = choose_part(list(files), wanted) if files else ""
    found = [str(file) for file in files.get(part, ())]
    if not found or not all(file.endswith(".parquet") for file in found):
        raise ValueError(
            f"{wanted.path} is not stored as Parquet files, which alone can be streamed: set "
            "data.source.streaming=false"
        )
    return found, part


def features_of(schema: Any) -> dict[str, Any]:
    """The description of the columns of Parquet files."""
    found: dict[str, Any] = _datasets().Features.from_arrow_schema(schema).to_dict()
    return found


def undecoded(dataset: Any, column: str) -> Any:
    """The column alone; of a picture the file, not the pixels."""
    datasets = _datasets()
    if isinstance(dataset.features[column], datasets.Image):
        dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset.select_columns([column])


def choose_part(names: Sequence[str], wanted: Wanted) -> str:
    """The part that is asked for, or train, or the only one."""
    if wanted.split is None:
        if "train" in names or len(names) == 1:
            return "train" if "train" in names else names[0]
        raise ValueError(f"{wanted.path} has the parts {', '.join(names)}: set data.source.split")
    for name in (wanted.split, *_OTHER_NAMES.get(wanted.split, ())):
        if name in names:
            return name
    raise ValueError(
        f"{wanted.path} has no part {wanted.split!r}: set data.source.split to one of: "
        f"{', '.join(names)}"
    )


def _numbered(url: str) -> list[str]:
    """`…-{000..012}.parquet` stands for thirteen files."""
    begin, first, last, end = (*_NUMBERS.split(url, maxsplit=1), "", "", "")[:4]
    if not first:
        return [url]
    width = len(first)
    return [f"{begin}{number:0{width}d}{end}" for number in range(int(first), int(last) + 1)]


def _is_hub_name(path: str) -> bool:
    return bool(_HUB_NAME.fullmatch(path))


def _loading(wanted: Wanted) -> dict[str, Any]:
    """The arguments of `load_dataset` and `load_dataset_builder`."""
    if wanted.path.endswith(".parquet"):
        files = [str(wanted.local)] if wanted.local else _numbered(wanted.path)
        return {"path": "parquet", "data_files": files}
    arguments: dict[str, Any] = {"path": str(wanted.local or wanted.path), "name": wanted.name}
    return arguments if wanted.local else {**arguments, "revision": wanted.revision}


@contextmanager
def _told_in_a_sentence(wanted: Wanted, datasets: Any) -> Iterator[None]:
    on_hub = wanted.local is None and "://" not in wanted.path
    is_reached = not on_hub or _hub_answers(wanted)
    try:
        with nullcontext() if is_reached else _offline(datasets):
            yield
    except ImportError as error:
        raise ValueError(f"{wanted.path} needs more packages ({error}): install them") from None
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if not is_reached:
            raise RunFailed(
                f"{wanted.path} is neither here nor among the data sets downloaded before, and the "
                "Hugging Face Hub cannot be reached: check data.source.path or the network"
            ) from None
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{wanted.path} cannot be opened: {reason}") from None


def _hub_answers(wanted: Wanted) -> bool:
    """Whether the Hub is there: the package itself would try for half a minute."""
    import huggingface_hub

    try:
        huggingface_hub.HfApi().dataset_info(
            wanted.path, revision=wanted.revision, timeout=_SECONDS_TO_ANSWER
        )
    except huggingface_hub.errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise ValueError(
            f"there is no file or folder {wanted.path}, and the Hugging Face Hub has no open data "
            f"set of that name (status {status}): check data.source.path, or run `hf auth login`"
        ) from None
    except Exception:  # noqa: BLE001 - the Hub's client changed its errors more than once
        return False
    return True


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Only what was downloaded before is looked for."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        with hub_offline():
            yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def hub_offline() -> Iterator[None]:
    """The Hub's client looks into its cache only, and does not wait for a network."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def hub_has_network() -> bool:
    """Whether the Hub answers anything: its client alone would try for a minute."""
    import huggingface_hub

    try:
        huggingface_hub.HfApi().model_info("timm/vit_tiny_patch16_224", timeout=_SECONDS_FOR_A_SIGN)
    except huggingface_hub.errors.HfHubHTTPError:
        return True
    except Exception:  # noqa: BLE001 - the Hub's client changed its errors more than once
        return False
    return True


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise ValueError(
            "data.source.kind=huggingface needs the package datasets: pip install 'jepakit[hub]'"
        ) from None
    return datasets
