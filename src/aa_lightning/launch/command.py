"""From the command line to a job.

    @command("train")
    def main(cfg):
        \"\"\"Align a model. …\"\"\"
        from aa_lightning.assembly.build import …       # heavy imports happen here, after the configuration was checked

Nothing heavy is imported here, Hydra only when there is something to compose: `--help` and typos answer at once.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_lightning.configuration.hydra_errors import check_jobs, explain
from aa_lightning.configuration.literal import literal, literal_paths
from aa_lightning.configuration.typed import Line, with_parts_added
from aa_lightning.launch.job import JOB, JobFailed, run_job, run_rank
from aa_lightning.runs.resume import with_recorded_overrides
from aa_lightning.system.processes import is_worker, leave
from aa_lightning.system.shown import printable, say_error
from aa_lightning.system.signals import Stopped, asked, end_if_asked, keep, listen

if TYPE_CHECKING:
    from omegaconf import DictConfig

    Function = Callable[[DictConfig], Any]

INTERRUPTED = 130


def command(
    config_name: str,
    resumes: str | None = None,
    reads: str | None = None,
    words: Collection[str] = (),
    files: Collection[str] = (),
) -> Callable[[Function], Callable[[], None]]:
    """Make a command of a function that takes the composed configuration and may return a number to compare.

    The function's docstring is the help page. It runs once per process, in a run folder that exists (`run_folder`).

    Args:
        config_name: the file in conf/, without .yaml.
        resumes: the key that names a run folder in which the command goes on.
        reads: the key that names a run folder whose settings the command takes.
        words: keys whose value is text, taken as it is typed.
        files: keys whose value is a path or several, taken as they are typed.
    """

    def decorate(function: Function) -> Callable[[], None]:
        @functools.wraps(function)
        def main() -> None:
            code = 0
            listen()
            try:
                if JOB in os.environ:
                    code = run_rank(function, Path(os.environ[JOB]))
                else:
                    typed = sys.argv[1:]
                    for key in filter(None, (resumes, reads)):
                        typed = with_recorded_overrides(typed, key, same_folder=key == resumes)
                    typed = literal_paths(literal(with_parts_added(typed), words, files), ("init", "model.path"))
                    with _ready(Line.of(typed, config_name), function) as (job, ended):
                        ended(job_return=job())
            except SystemExit as end:
                code = end.code
            except KeyboardInterrupt:
                code = INTERRUPTED
            _end(code)

        return main

    return decorate


def _end(code: Any) -> None:
    """End the process, with the code of a signal where one came."""
    number = asked()
    keep(True)  # all is done: a signal would only disturb the end of the interpreter
    code = code if number is None else Stopped(number).code
    if is_worker() and isinstance(code, int):
        leave(code)
    sys.exit(code)


@contextlib.contextmanager
def _ready(line: Line, function: Function) -> Iterator[tuple[Callable[[], Any], Callable[..., None]]]:
    """Answer mistakes; inside, the job of a command line can be called, and told of its end."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a `_target_` of the user's own may lie
    try:
        line.check()
        if line.asks_for_help:
            _help(line, function)
            raise SystemExit(0)
        if line.sweeps and is_worker():
            raise SystemExit(
                say_error(
                    "a sweep starts its own processes and cannot run inside torchrun or srun\n"
                    "type: the same command without torchrun or srun"
                )
            )
        if line.sweeps:
            check_jobs(line.overrides, line.config_name, line.folders)
        from aa_lightning.launch.hydra_jobs import prepared

        task = functools.partial(
            run_job, function=function, config_name=line.config_name, worker=_worker_command(function)
        )
        with prepared(line, task) as job:
            yield job
        if line.shows:  # printed, whether it can run or not
            check_jobs(line.overrides, line.config_name, line.folders)
    except JobFailed:
        raise SystemExit(1) from None
    except BrokenPipeError:  # of a reader that has seen enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        end_if_asked()  # which a library may have taken for a failure
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        told = _folder_problem(error) or explain(error, line.config_name, line.folders, line.overrides)
        raise SystemExit(say_error(told)) from None


def _help(line: Line, function: Function) -> None:
    from aa_lightning.configuration.help import page

    text = page(line.overrides, line.config_name, inspect.cleandoc(function.__doc__ or ""), line.folders)
    print(printable(text), flush=True)


def _worker_command(function: Function) -> list[str]:
    """Return how the same command is started again: by module, as a script, or by what a console script imports."""
    if function.__module__ != "__main__":
        start = f"import sys; from {function.__module__} import {function.__name__} as main; main()"
        return [sys.executable, "-c", start]
    spec = sys.modules["__main__"].__spec__
    return [sys.executable, *(["-m", spec.name] if spec else [os.path.abspath(sys.argv[0])])]


def _folder_problem(error: Exception) -> str | None:
    """A run folder that cannot be made."""
    from hydra.errors import HydraException

    if not isinstance(error, OSError) or isinstance(error, HydraException):
        return None
    return f"the run folder cannot be written: {error}\ntype: output=<a folder that can be written>"
