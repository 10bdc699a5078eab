"""One job of a command: checked, run in as many processes as it asks for, its failure said in plain words."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dis import opmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aa_lightning.configuration.folders import PACKAGE
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.runs.checkpoints import newest, step_of
from aa_lightning.runs.folders import JOB_FOLDER, LOCK, hold, release
from aa_lightning.runs.layout import RunFolder
from aa_lightning.system.atomic import write_text
from aa_lightning.system.processes import WorkersFailed, end_with_parent, is_worker, rank, run_workers, told_endings
from aa_lightning.system.shown import printable, say_error
from aa_lightning.system.signals import Stopped, asked

if TYPE_CHECKING:
    from omegaconf import DictConfig

    Function = Callable[[DictConfig], Any]

JOB = "AA_LIGHTNING_JOB"  # in a worker's environment: the folder with what it shall do
_LOST = re.compile("gloo/|NCCL|DistNetworkError|DistStoreError|Connection (reset|closed)")  # another rank is gone
_DATA_WORKER = re.compile(r"DataLoader worker \(pid.*?\) (?:is killed by signal: (\w+)|exited unexpectedly)")
_WITHOUT_WORKERS = (
    "the system may have run out of memory, or code that reads rows died\n"
    "type: loader.workers=0, which reads them in the process that trains, or a smaller number"
)
FREE_MIB = 64  # a run folder on a disk with less is refused


class JobFailed(Exception):
    """A job of a sweep failed; the reason was printed and lies in its folder. The sweep goes on."""


def run_job(cfg: DictConfig, function: Function, config_name: str, worker: list[str]) -> Any:
    """Run a command's function in the folder that Hydra has made, in as many processes as the configuration asks for.

    Args:
        cfg: what Hydra composed.
        config_name: of the command.
        worker: how one more process of the same command is started.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from aa_lightning.configuration.compose import finished

    folder = run_folder()
    with _answering(folder, config_name):
        cfg = finished(cfg, HydraConfig.get(), config_name, _conf_folders())
        _require_space(folder)
        if not is_worker() and "trainer" in cfg and config_name != "check":  # which trains nothing
            count = processes(OmegaConf.to_container(cfg.trainer, resolve=True))
            if count > 1:
                return _in_workers(cfg, worker, count)
        return function(cfg)


@contextlib.contextmanager
def _answering(folder: Path, config_name: str) -> Iterator[None]:
    """Hold the folder, and say how the job inside failed or was stopped, there too.

    Raises:
        SystemExit: a run failed, or a signal came.
        JobFailed: a job of a sweep failed.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    alone = HydraConfig.get().mode != RunMode.MULTIRUN
    if not _is_here(folder):
        hold(folder)
        RunFolder(folder).error.unlink(missing_ok=True)
    try:
        yield
    except BaseException as error:
        number = _signal_of(error)
        if number is not None:
            _say_how_to_go_on(folder, config_name)
            raise Stopped(number) from error
        if not isinstance(error, Exception):
            raise
        _report(error, folder, alone)
        if alone:
            sys.exit(1)
        raise JobFailed(f"{folder}: {error}") from None
    finally:
        release(folder)


def run_folder() -> Path:
    """Return the folder where this job writes. On all ranks of one machine it is the same; under torchrun and Slurm, rank
    0's alone lasts and other ranks get a temporary one."""
    from hydra.core.hydra_config import HydraConfig

    return Path(HydraConfig.get().runtime.output_dir)


def processes(trainer: Mapping[str, Any]) -> int:
    """Count the processes that a Trainer's `devices` asks for on this machine. Imports torch only to count GPUs.

    Raises:
        ConfigError: several machines, without a launcher that reaches them; or no number.
    """
    if "num_nodes" in trainer and trainer["num_nodes"] > 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer['num_nodes']} needs a launcher that starts a process on each machine\n"
            f"type: torchrun --nnodes={trainer['num_nodes']} --nproc-per-node=<GPUs> -m aa_lightning.train …, or srun"
        )
    devices = trainer["devices"]
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return len(devices)
    if str(devices) in ("auto", "-1"):
        return 1 if trainer["accelerator"] == "cpu" else _gpus()
    if not re.fullmatch(r"\d+(,\d+)*", str(devices)):
        raise ConfigError(
            f"trainer.devices={devices} cannot be used: it is no number of processes\n"
            "type: trainer.devices=<number>, trainer.devices=auto for all GPUs, or trainer.devices=[0,1] for these"
        )
    return len(devices.split(",")) if "," in str(devices) else int(devices)


def _conf_folders() -> list[Path]:
    """List the folders where Hydra finds configuration groups: ours, then the user's."""
    from hydra.core.hydra_config import HydraConfig

    sources = [source for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    return [Path(source.path) for source in sorted(sources, key=lambda source: source.provider != "main")]


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free / 2**20
    if free < FREE_MIB:
        message = f"only {free:.0f} MiB are free on the disk of {folder}\ntype: output=<a folder on another disk>"
        raise OSError(errno.ENOSPC, message)


def _signal_of(error: BaseException) -> int | None:
    """The signal that ended a job, whatever libraries made of the exception on its way; None: there was none."""
    if any(isinstance(one, KeyboardInterrupt) for one in (error, error.__context__)):
        return signal.SIGINT
    return error.number if isinstance(error, Stopped) else asked()


def _say_how_to_go_on(folder: Path, config_name: str) -> None:
    if config_name == "evaluate" and RunFolder(folder).samples.is_dir():  # of benchmarks
        how = f"to go on with the answers that are there, type: the same command with hydra.run.dir={folder}"
        print(f"\nstopped. {printable(how)}", file=sys.stderr)
        return
    if config_name != "train":
        print("\nstopped. to begin again, type: the same command", file=sys.stderr)
        return
    from aa_lightning.runs.received import resume_command

    last = newest(folder)
    at = "at its beginning, as no checkpoint was written yet" if last is None else f"after step {step_of(last)}"
    how = f"to continue {at}, type: {resume_command(folder)}"
    print(f"\nstopped. {printable(how)}", file=sys.stderr)


def _report(error: Exception, folder: Path, alone: bool) -> None:
    """Say what is wrong; the whole story goes to error.txt, unless a mistyped value ended a run, or it has no folder."""
    message, expected, story = describe(error)
    if not expected or os.environ.get("HYDRA_FULL_ERROR") == "1":
        print(printable(story), file=sys.stderr)
    say_error(message if alone else f"{folder.name}: {message}")
    if _is_here(folder):
        return
    if alone and isinstance(error, ConfigError):
        _discard(folder)
        return
    details = RunFolder(folder).error
    write_text(details, printable(f"{message}\n\n{story}"))
    print(f"details: {printable(details)}", file=sys.stderr)


def describe(error: BaseException) -> tuple[str, bool, str]:
    """(message, whether it was written for users, the whole traceback). A ValueError or TypeError that a `raise` of ours
    raised, and any OSError, is a sentence for users; from anywhere else it is a bug or a surprise."""
    while type(error).__name__ == "InstantiationException" and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, _WorkerError):
        return str(error), error.expected, error.story
    story = "".join(traceback.format_exception(error))
    if (lost := _DATA_WORKER.match(str(error))) is not None:  # raised wherever the news of its death came
        how = f"ended by a signal ({lost[1]})" if lost[1] else "ended"
        return f"a process that reads rows ahead was {how}: {_WITHOUT_WORKERS}", True, story
    of_trainer = type(error).__name__ == "MisconfigurationException"  # Lightning's word for a setting that cannot work
    expected = (
        of_trainer
        or isinstance(error, OSError)
        or (isinstance(error, ValueError | TypeError) and _is_raised_here(error))
    )
    return str(error) if expected else f"{type(error).__name__}: {error}", expected, story


def _is_raised_here(error: BaseException) -> bool:
    """Tell an error that a `raise` in this package raised from an operation that failed here, or elsewhere."""
    last = error.__traceback__
    if last is None:
        return False
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    return Path(code.co_filename).is_relative_to(PACKAGE) and code.co_code[last.tb_lasti] == opmap["RAISE_VARARGS"]


def _is_here(folder: Path) -> bool:
    """Tell a command that has no folder of its own and runs where it was typed (`check`)."""
    return folder.samefile(Path.cwd())


def _discard(folder: Path) -> None:
    """Remove a run folder in which nothing happened; only what Hydra puts there may be in it."""
    if all(
        path.name in (RunFolder(folder).hydra.name, LOCK) or (path.suffix == ".log" and not path.stat().st_size)
        for path in folder.iterdir()
    ):
        shutil.rmtree(folder)


# ---------------------------------------------------------------- several processes


class _WorkerError(RuntimeError):
    def __init__(self, message: str, expected: bool, story: str):
        super().__init__(message)
        self.expected = expected
        self.story = story


def _in_workers(cfg: DictConfig, worker: list[str], count: int) -> Any:
    """Run the job in `count` processes; what rank 0 returns."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))  # so that ${now:} is the same on all ranks
    own = None if _is_here(run_folder()) else run_folder()
    with tempfile.TemporaryDirectory(prefix=JOB_FOLDER, dir=own) as name:
        folder = Path(name)
        (folder / "job.pickle").write_bytes(pickle.dumps((plain, HydraConfig.instance().cfg)))
        try:
            run_workers(worker, count, env={JOB: name}, done=lambda place: "value" in _told(folder, place))
        except WorkersFailed as error:
            raise _first_error(folder, error, count) from error
        return _told(folder, 0)["value"]


def _told(folder: Path, place: int) -> dict[str, Any]:
    """Read what a rank has written: its value, or its error; nothing yet."""
    path = folder / f"{place}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _first_error(folder: Path, failed: WorkersFailed, count: int) -> Exception:
    """Find what came first: a rank's death or a rank's error. The broken connections of the others only follow from it."""
    told = [one for place in range(count) if "message" in (one := _told(folder, place))]
    own = sorted((one for one in told if not one["lost"]), key=lambda one: one["time"])
    silent = {place: code for place, code in failed.codes.items() if not _told(folder, place)}
    killed = {place: code for place, code in silent.items() if code < 0 and code != -signal.SIGABRT}
    if killed or (silent and not own):  # an abort may follow from another's error, another signal does not
        told_of = told_endings(killed or silent, count)
        return _WorkerError(told_of, True, told_of)
    if not told:
        return _WorkerError(str(failed), True, str(failed))
    first = (own or told)[0]
    return _WorkerError(f"rank {first['rank']} of {count}: {first['message']}", first["expected"], first["story"])


def run_rank(function: Function, folder: Path) -> int:
    """One rank of a job that `_in_workers` started."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import configure_log, setup_globals

    end_with_parent()
    setup_globals()
    cfg, hydra_cfg = pickle.loads((folder / "job.pickle").read_bytes())
    HydraConfig.instance().cfg = hydra_cfg
    if rank() == 0:
        configure_log(hydra_cfg.hydra.job_logging, hydra_cfg.hydra.verbose)
    result: dict[str, Any] = {"rank": rank()}
    try:
        result["value"] = function(cfg)
    except Exception as error:
        message, expected, story = describe(error)
        lost = bool(_LOST.search(message))
        result |= {"time": time.time(), "message": message, "expected": expected, "story": story, "lost": lost}
    write_text(folder / f"{rank()}.json", json.dumps(result))
    return 1 if "message" in result else 0


def _gpus() -> int:
    import torch

    return max(torch.cuda.device_count(), 1)
