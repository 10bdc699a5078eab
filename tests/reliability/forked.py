"""Commands without the seconds of their imports: a server that has imported everything forks one for each request, and that
its ranks and stages.

python -m tests.reliability.forked        JSON lines in (`{"module", "argv", "cwd", "env", "out", "err"}`), JSON lines out
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

from aa_lightning.system import processes

ROOT = Path(__file__).parents[2]


class Command:
    """A running command. Its process leads a session, to which all that it starts belongs.

    Args:
        module: with a `main`, as aa_lightning.train.
        argv: what is typed.
        env: added to the environment.
        cwd: where it is typed.
        terminal: the name of one, to which it writes its errors and bars; it is open when this returns.
    """

    def __init__(
        self,
        module: str,
        argv: list[str],
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        terminal: str | None = None,
    ):
        self._server = _server(os.getpid())
        self._told = [Path(tempfile.mkstemp(prefix="told-")[1]) for _ in range(2)]
        out, err = self._told
        self.pid = self._server.start(module, [*map(str, argv)], env or {}, cwd or Path.cwd(), out, terminal or err)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, minus the signal's number where one killed it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.code(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it and all that it started."""
        for pid in session_of(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end; what it printed to stdout and stderr."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise subprocess.TimeoutExpired(str(self.pid), timeout, *map(_text, self._told))
            time.sleep(0.01)
        out, err = map(_text, self._told)
        for path in self._told:
            path.unlink(missing_ok=True)
        return out, err


def call(module: str, *argv: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command."""
    process = Command(module, list(argv))
    out, err = process.communicate()
    return process.returncode, out, err


def session_of(pid: int) -> list[int]:
    """The running processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may just have ended
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == pid and state not in "ZX":
                found.append(int(stat.parent.name))
    return found


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def _server(own: int) -> _Server:
    return _Server()


class _Server:
    def __init__(self) -> None:
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._codes: dict[int, int] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.forked"],
            env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "120", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        atexit.register(self._end)

    def start(self, module: str, argv: list[str], env: dict[str, str], cwd: Path, out: Path, err: Path | str) -> int:
        asked = {"module": module, "argv": argv, "env": env, "cwd": str(cwd), "out": str(out), "err": str(err)}
        return self._ask(asked)["pid"]

    def code(self, pid: int) -> int | None:
        if pid not in self._codes:
            self._codes |= {int(one): code for one, code in self._ask({})["codes"].items()}
        return self._codes.get(pid)

    def _end(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, question: dict) -> dict:
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


# ---------------------------------------------------------------- in the server

LIBRARIES = ["transformers", "transformers.models.llama", "datasets", "peft", "hydra.main", "torch.utils.tensorboard"]
OURS = ["train", "evaluate", "generate", "sweep", "launch.hydra_jobs", "report", "report.curves", "report.sweep"]
OURS += ["assembly.build", "assembly.stages", "models.load"]
OURS += ["training.module", "training.datamodule", "training.export", "training.summary"]


def serve() -> None:
    for module in [*LIBRARIES, *(f"aa_lightning.{name}" for name in OURS)]:
        importlib.import_module(module)
    codes: dict[int, int] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if question:
            print(json.dumps({"pid": _fork(question)}), flush=True)
            continue
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                codes[ended[0]] = os.waitstatus_to_exitcode(ended[1])
        print(json.dumps({"codes": codes}), flush=True)
        codes.clear()


def _fork(question: dict) -> int:
    ends = [os.open(question[name], os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY) for name in ("out", "err")]
    pid = os.fork()
    if pid:
        for end in ends:
            os.close(end)
        return pid
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, end in enumerate(ends, 1):
        os.dup2(end, number)
        os.close(end)
    os.chdir(question["cwd"])
    os.environ.update(question["env"])
    _shorten_stages()
    processes._start = _Child
    sys.argv = [question["module"], *question["argv"]]
    return _end_as(importlib.import_module(question["module"]).main)


def _end_as(function: Callable[[], object]) -> NoReturn:
    """Call a function, and end this process as an interpreter would that has nothing else to do."""
    code: object = 0
    try:
        function()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


class _Child:
    """A rank or a stage: forked too, where the command starts an interpreter with a program (`python -c`). What is asked of
    a `Popen`."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path | None):
        _, flag, program, *argv = command
        assert flag == "-c" and cwd is None
        sys.stdout.flush()
        self.pid, self.returncode = os.fork(), None
        if not self.pid:
            atexit._clear()  # what this process shall do at its end is not the child's to do
            os.setpgid(0, 0)
            os.environ.clear()
            os.environ.update({**env, processes._PARENT: str(os.getppid())})
            sys.argv = [flag, *argv]
            _end_as(lambda: exec(program, {"__name__": "__main__"}))
        with contextlib.suppress(PermissionError):  # it was first
            os.setpgid(self.pid, self.pid)

    def poll(self) -> int | None:
        return self._ended(os.WNOHANG)

    def wait(self) -> int | None:
        return self._ended(0)

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _shorten_stages() -> None:
    """Stages of a few steps, where TEST_STAGE_STEPS says so."""
    from aa_lightning.assembly import stages

    composed = stages._stage_config

    def shortened(cfg):
        stage = composed(cfg)
        stage.trainer.max_steps = int(os.environ["TEST_STAGE_STEPS"])
        stage.trainer.enable_progress_bar = False
        return stage

    if "TEST_STAGE_STEPS" in os.environ:
        stages._stage_config = shortened


if __name__ == "__main__":
    serve()
