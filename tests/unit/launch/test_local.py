"""One process per device: what each is told, and how failures and signals travel."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from jepakit.launch.local import environments, launch

RECORD = """
import json, os, pathlib, sys
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "JEPAKIT_DEVICE")
told = {name: os.environ.get(name) for name in (*names, "OMP_NUM_THREADS")}
pathlib.Path(sys.argv[1], told["RANK"]).write_text(json.dumps(told))
print("out", told["RANK"], flush=True)
print("err", told["RANK"], file=sys.stderr, flush=True)
"""

# Ready, then waits; obeys SIGTERM with a code of its own, and counts how often it is asked.
OBEY = """
import os, pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1], os.environ["RANK"])
received = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: received.append(number))
place.write_text("")
while not received:
    time.sleep(0.01)
time.sleep(0.2)
place.write_text(" ".join(map(str, received)))
sys.exit(128 + received[0])
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-c", code, *map(str, arguments)]


def told(folder: Path) -> list[dict[str, str]]:
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]


def test_every_process_is_told_its_place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(python(RECORD, tmp_path), ("cuda:0", "cuda:2", "cuda:5")) == 0
    processes = told(tmp_path)
    assert [p["RANK"] for p in processes] == ["0", "1", "2"]
    assert [p["LOCAL_RANK"] for p in processes] == ["0", "1", "2"]
    assert [p["JEPAKIT_DEVICE"] for p in processes] == ["cuda:0", "cuda:2", "cuda:5"]
    assert {p["WORLD_SIZE"] for p in processes} == {"3"}
    assert {p["MASTER_ADDR"] for p in processes} == {"127.0.0.1"}
    assert len({p["MASTER_PORT"] for p in processes}) == 1
    written = capfd.readouterr()
    assert written.out == "out 0\n"  # the progress of one is enough
    assert sorted(written.err.splitlines()) == ["err 0", "err 1", "err 2"]


def test_processes_on_the_cpu_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("jepakit.launch.local.num_cores", lambda: 8)

    def threads(*devices: str) -> list[str | None]:
        return [told.get("OMP_NUM_THREADS") for told in environments(devices)]

    assert threads("cpu", "cpu", "cpu") == ["2", "2", "2"]
    assert threads("cpu") == [None]
    assert threads("cuda:0", "cuda:1") == [None, None]
    assert threads(*["cpu"] * 9)[0] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads("cpu", "cpu") == [None, None]


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        ("sys.exit(7)", 7, "exit code 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143, "killed by SIGTERM"),
    ],
)
def test_a_process_that_fails_ends_all(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], failure: str, code: int, reason: str
) -> None:
    program = f"""
import os, pathlib, signal, sys, time
if os.environ["RANK"] == "1":
    while not pathlib.Path(sys.argv[1], "0").exists():
        time.sleep(0.01)
    {failure}
pathlib.Path(sys.argv[1], "0").write_text(str(os.getpid()))
time.sleep(20)
pathlib.Path(sys.argv[1], "survived").touch()
"""
    assert launch(python(program, tmp_path), ("cpu", "cpu")) == code
    assert not (tmp_path / "survived").exists()
    assert f"process 1 on cpu failed ({reason})" in capfd.readouterr().err
    assert not is_alive(int((tmp_path / "0").read_text()))


def test_a_process_that_does_not_end_is_killed(tmp_path: Path) -> None:
    program = """
import os, pathlib, signal, sys, time
if os.environ["RANK"] == "0":
    while not pathlib.Path(sys.argv[1], "1").exists():
        time.sleep(0.01)
    sys.exit(1)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1], "1").write_text(str(os.getpid()))
time.sleep(20)
pathlib.Path(sys.argv[1], "survived").touch()
"""
    assert launch(python(program, tmp_path), ("cpu", "cpu"), seconds_to_end=0.3) == 1
    assert not (tmp_path / "survived").exists()
    assert not is_alive(int((tmp_path / "1").read_text()))


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGUSR1, signal.SIGUSR1),
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_signals_are_passed_on_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], sent: signal.Signals, received: int
) -> None:
    before = signal.signal(sent, signal.default_int_handler)  # where tests run under nohup, too

    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), sent)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    code = launch(python(OBEY, tmp_path), ("cpu", "cpu"))
    sender.join()
    after = signal.signal(sent, before)
    assert code == 128 + received
    assert [p.read_text() for p in sorted(tmp_path.iterdir())] == [str(int(received))] * 2
    assert "failed" not in capfd.readouterr().err
    assert after == signal.default_int_handler


def test_ctrl_c_in_a_terminal_reaches_only_the_launcher(tmp_path: Path) -> None:
    """A terminal interrupts its whole foreground group; the launcher then passes that on, once."""
    program = "import os, pathlib, sys; "
    program += "pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(str(os.getpgid(0)))"
    assert launch(python(program, tmp_path), ("cpu", "cpu")) == 0
    groups = {int(path.read_text()) for path in tmp_path.iterdir()}
    assert len(groups) == 2
    assert os.getpgid(0) not in groups


def test_a_command_that_cannot_start_leaves_nothing_behind() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(FileNotFoundError):
        launch(["/no/such/program"], ("cpu",))
    assert signal.getsignal(signal.SIGTERM) == before


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
