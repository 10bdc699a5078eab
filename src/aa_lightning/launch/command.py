"""From the command line to a job: Hydra, errors in plain words, worker processes.

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_lightning.configuration.folders import conf_dir
from aa_lightning.configuration.hydra_errors import check_jobs, explain
from aa_lightning.configuration.literal import literal_paths
from aa_lightning.configuration.typed import SHOWN, SWEEP, check_flags, check_options, overrides_in, own_folders
from aa_lightning.launch.job import JOB, JobFailed, run_job, run_rank, say
from aa_lightning.runs.folders import rank_folder
from aa_lightning.system.processes import is_worker, leave, rank
from aa_lightning.system.shown import printable
from aa_lightning.system.signals import Stopped, asked, end_if_asked, keep, listen

if TYPE_CHECKING:
    from omegaconf import DictConfig

    Function = Callable[[DictConfig], Any]

INTERRUPTED = 130


def command(config_name: str) -> Callable[[Function], Callable[[], None]]:
    """Make a command of a function that takes the composed configuration and may return a number to compare.

    The function's docstring is the help page. It runs once per process, in a run folder that exists (`run_folder`).

    Args:
        config_name: the file in conf/, without .yaml.
    """

    def decorate(function: Function) -> Callable[[], None]:
        @functools.wraps(function)
        def main() -> None:
            code = _main(function, config_name)
            keep(True)  # all is done: a signal would only disturb the end of the interpreter
            if is_worker():
                leave(code)
            sys.exit(code)

        return main

    return decorate


# ---------------------------------------------------------------- the command line


def _main(function: Function, config_name: str) -> int:
    """The exit code of a command, with that of a signal where one came."""
    listen()
    try:
        code = _answer(function, config_name)
    except Stopped as stop:
        return stop.code
    except KeyboardInterrupt:
        return INTERRUPTED
    number = asked()
    return code if number is None else Stopped(number).code


def _answer(function: Function, config_name: str) -> int:
    if JOB in os.environ:
        return run_rank(function, Path(os.environ[JOB]))
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a `_target_` of the user's own may lie
    typed = literal_paths(sys.argv[1:], ("init", "model.path"))
    overrides = overrides_in(typed)
    sys.argv[1:] = [*(item for item in typed if item not in overrides), *overrides]  # argparse wants them together
    folders = [conf_dir(), *own_folders(typed)]
    if is_worker() and SWEEP & set(typed):
        return say("a sweep starts its own processes and cannot run inside torchrun or srun\ntype: it without them")
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        check_flags(typed)
        asks_for_help = bool({"--help", "-h"} & set(typed))
        check_options([item for item in overrides if "=" in item or not asks_for_help], config_name, folders)
        if asks_for_help:
            return _help(function, config_name, folders, overrides)
        if SWEEP & set(typed):
            check_jobs(overrides, config_name, folders)
        with _hydra_raises():
            _hydra(function, config_name, full)
        if any(item.partition("=")[0] in SHOWN for item in typed):  # printed, whether it can run or not
            check_jobs(overrides, config_name, folders)
    except JobFailed:
        return 1
    except Exception as error:
        end_if_asked()  # which a library may have taken for a failure
        if full:
            raise
        return say(_folder_problem(error) or explain(error, config_name, folders, overrides))
    return 0


@contextlib.contextmanager
def _hydra_raises() -> Iterator[None]:
    """Hydra raises what it would print, and we say it in our words."""
    before = os.environ.get("HYDRA_FULL_ERROR", "")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        os.environ["HYDRA_FULL_ERROR"] = before


def _hydra(function: Function, config_name: str, full: bool) -> None:
    import hydra

    worker = _worker_command(function)
    if SWEEP & set(sys.argv[1:]):
        sys.argv += _short_names(overrides_in(sys.argv[1:]))

    @functools.wraps(function)
    def job(cfg: DictConfig) -> Any:
        return run_job(cfg, function, config_name, worker, full)

    with rank_folder() if rank() > 0 else contextlib.nullcontext() as folder:
        if folder is not None:
            sys.argv += [f"hydra.run.dir={folder}", "hydra.output_subdir=null"]
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(job)()


def _short_names(overrides: Sequence[str]) -> list[str]:
    """Keep constant settings out of the names of a sweep's folders, which would be too long with all of them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    key = "hydra.job.config.override_dirname.exclude_keys"
    parsed = OverridesParser.create().parse_overrides([*overrides])
    constant = {one.get_key_element().lstrip("+~") for one in parsed if not one.is_sweep_override()}
    ours = sorted(name for name in constant if not name.startswith("hydra"))
    return [] if key in constant else [f"{key}=[output,{','.join(ours)}]"] if ours else []


def _help(function: Function, config_name: str, folders: Sequence[Path], overrides: Sequence[str]) -> int:
    from aa_lightning.configuration.help import page

    text = page(overrides, config_name, inspect.cleandoc(function.__doc__ or ""), folders)
    try:
        print(printable(text), flush=True)
    except BrokenPipeError:  # of a reader that has seen enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _worker_command(function: Function) -> list[str]:
    """Return how the same command is started again: by module, as a script, or by what a console script imports."""
    if function.__module__ != "__main__":
        start = f"import sys; from {function.__module__} import {function.__name__} as main; main()"
        return [sys.executable, "-c", start]
    spec = sys.modules["__main__"].__spec__
    return [sys.executable, *(["-m", spec.name] if spec else [os.path.abspath(sys.argv[0])])]


def _folder_problem(error: Exception) -> str | None:
    """A run folder that cannot be made, which Hydra finds out first."""
    from hydra.errors import HydraException

    if not isinstance(error, OSError) or isinstance(error, HydraException):
        return None
    return f"the run folder cannot be written: {error}\ntype: output=<a folder that can be written>"
