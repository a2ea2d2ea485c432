"""`jepa pretrain`: train an encoder on a source of pictures, or go on where a run stopped."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jepakit.core.devices import choose_device
from jepakit.core.distributed import Place, check_alike, is_lost_connection, leave, who
from jepakit.core.errors import RunFailed
from jepakit.core.files import write_text
from jepakit.core.joining import join
from jepakit.core.parent import end_with_launcher
from jepakit.data.sources import Source
from jepakit.launch.local import launch
from jepakit.runs.assemble import assemble
from jepakit.runs.config import FREE_TO_CONTINUE, RunConfig, differences, flat
from jepakit.runs.continuing import check_settings
from jepakit.runs.folder import RunFolder
from jepakit.runs.preflight import preflight
from jepakit.runs.reference_yaml import check_pictures
from jepakit.runs.resolve import resolve_training
from jepakit.runs.yaml_file import to_yaml
from jepakit.version import code_version

log = logging.getLogger(__name__)

REFUSED = 2  # exit code: something in the command is to be corrected


def pretrain(
    config: Path | None,
    overrides: Sequence[str],
    data: str | Path | None,
    devices: Sequence[str],
    print_only: bool,
) -> int:
    """Resolve the configuration, then print it, launch one process per device, or train here."""
    console = Console(stderr=True)
    place = Place.from_environment()
    resolved, told = resolve_training(config, overrides, data, devices)
    if place.is_first and told and not (print_only and isinstance(told, Table)):
        console.print(told)
    if print_only:
        sys.stdout.write(to_yaml(resolved))
        return 0
    check_pictures(resolved)
    if config is None and data is None and place.is_first:
        unasked = "No pictures are named, so it learns from built-in scenes; yours: --data FOLDER"
        console.print(unasked, markup=False, highlight=False, soft_wrap=True)
    code = launch_or_train(resolved, place, console)
    if code == 0 and place.world_size == 1:  # where somebody typed the command
        name = resolved.folder
        told = Text(f"Next: jepa evaluate {name}, jepa report {name}")
        console.print(told, soft_wrap=True)
    return code


def launch_or_train(config: RunConfig, place: Place, console: Console) -> int:
    """One process per device, or all in this process; returns the exit code."""
    if len(config.devices) == 1 or place.world_size > 1:
        return train(config, place, console)
    for name in config.devices:
        choose_device(name)  # a wrong name is told once, before anything starts
    folder = RunFolder(config.folder)
    with folder.held():
        before = _text_of(folder.config)
        settle(config)
    command = [sys.executable, "-m", "jepakit", "pretrain", str(folder.config)]
    code = launch([*command, f"folder={config.folder}"], config.devices)
    if code == REFUSED:
        with folder.held():
            _restore(folder.config, before)
    return code


def train(config: RunConfig, place: Place, console: Console, source: Source | None = None) -> int:
    """Train in this process, as one of `place.world_size`; returns the exit code.

    `source` takes the place of the one that the config describes.
    """
    end_with_launcher()
    device = choose_device(device_name(config, place))
    join(place, device, config.processes, alone=config.parallel == "fsdp" or config.cpu_offload)
    try:
        check_alike(_description(config, place))
        if not place.is_first:
            return _run(config, place, device, console, source)
        folder = RunFolder(config.folder)
        with _nothing_left_of_a_refusal(folder), folder.held(), _logged_to(folder.log):
            before = _text_of(folder.config)
            try:
                settle(config)
                return _run(config, place, device, console, source)
            except ValueError:
                _restore(folder.config, before)
                raise
    except RuntimeError as error:
        if isinstance(error, RunFailed) or not is_lost_connection(error):
            raise
        reason = str(error).splitlines()[0]
        raise RunFailed(
            f"{who()} lost another process of the run ({reason}): that one says why it ended"
        ) from error
    finally:
        leave()


@contextmanager
def _nothing_left_of_a_refusal(folder: RunFolder) -> Iterator[None]:
    """A new folder whose run is refused before it learned anything goes again."""
    new = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
    try:
        yield
    except ValueError:
        if folder.path in new and not folder.holds_checkpoints():
            shutil.rmtree(folder.path, ignore_errors=True)
            for above in new[1:]:
                with suppress(OSError):  # another run lies in it by now
                    above.rmdir()
        raise


def _text_of(config: Path) -> str | None:
    return config.read_text(encoding="utf-8") if config.exists() else None


def _restore(config: Path, before: str | None) -> None:
    """A run that was refused is still what it was: its config describes what it learned from."""
    if before is not None:
        write_text(config, before)


def _description(config: RunConfig, place: Place) -> dict[str, object]:
    """What all processes of a run must agree in before they look at pictures."""
    settings = flat(config.model_dump(mode="json", exclude={"devices"}))
    return {"world size": place.world_size, "code": code_version(), **settings}


def _run(
    config: RunConfig,
    place: Place,
    device: torch.device,
    console: Console,
    source: Source | None,
) -> int:
    trainer, networks = assemble(config, place, device, console, source)
    total = trainer.schedules.num_steps
    with closing(trainer):
        if trainer.step >= total:
            told = (
                f"This run is finished: {config.folder} holds all {total} steps. To train longer, "
                "begin anew with a larger optimization.epochs and another folder=NEW"
            )
            console.print(told, markup=False, highlight=False, soft_wrap=True)
            return 0
        if place.is_first:
            preflight(config, trainer, networks, console)
        if trainer.step and place.is_first:
            log.info("continuing at step %d of %d", trainer.step, total)
        finished = trainer.run()
    if place.is_first:
        at = None if finished else f"step {trainer.step} of {total}"
        _tell_the_end(at, len(trainer.stream.broken), config, console)
    return 0 if finished else trainer.interruption.exit_code


def _tell_the_end(at: str | None, num_broken: int, config: RunConfig, console: Console) -> None:
    """`at` is where it stopped; None if it is through."""
    folder = RunFolder(config.folder)
    told = f"Stopped at {at} and saved; the same command continues" if at else "Finished"
    lines = [f"{told}: {folder.path}"]
    if num_broken:
        lines.append(f"{num_broken} of the pictures could not be read: {folder.broken_pictures}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def settle(config: RunConfig) -> None:
    """Write the resolved config into the run folder; refuse to mix two runs in it.

    A folder without a checkpoint holds no run yet, whatever its config says.
    """
    folder = RunFolder(config.folder)
    if before := check_settings(config):
        if differences(before, config, FREE_TO_CONTINUE):
            log.warning("%s was begun with other settings; it begins anew", config.folder)
        elif free := differences(before, config, ("folder",)):
            log.info("other settings than before: %s", "; ".join(free))
    if not folder.holds_checkpoints():  # what was found on what may be other pictures
        folder.statistics.unlink(missing_ok=True)
        folder.broken_pictures.unlink(missing_ok=True)
    write_text(folder.config, to_yaml(config))


def device_name(config: RunConfig, place: Place) -> str:
    """The device of this process: as the launcher says, or by its local rank."""
    name = os.environ.get("JEPAKIT_DEVICE") or config.devices[place.rank % len(config.devices)]
    if name != "auto":
        return name
    if not torch.cuda.is_available():
        if place.is_first and os.environ.get("SLURM_GPUS_ON_NODE"):
            log.warning("SLURM gave GPUs to this job, but torch finds none: training on the CPU")
        return "cpu" if place.world_size > 1 else name
    # A process that is shown a single GPU uses it; one that is shown all uses its own.
    return f"cuda:{place.local_rank if torch.cuda.device_count() > 1 else 0}"


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Within it, what the package tells also goes to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("jepakit")
    level = logger.level
    if level == logging.NOTSET:  # in a program; the command has chosen one (`JEPAKIT_LOG`)
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
