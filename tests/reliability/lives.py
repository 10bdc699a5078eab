"""Commands that are killed anywhere in their lives, and what each must leave: nothing running or elsewhere, all its work."""

from __future__ import annotations

import random
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.reliability.forked import Command, session_of
from tests.reliability.killing import rows_of, untimed

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STEPS = 8
RUN = [
    "modality=t2t",
    "model=tiny_llama",
    "algo=dpo",
    "init=null",
    "model.dropout=0.1",
    "data.train.size=10",
    "data.val.size=4",
    "loader.batch_size=4",
    "loader.micro_batch_size=2",
    "optimizer.lr=1e-3",
    "optimizer.warmup_ratio=0.2",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=10",
    "trainer.enable_progress_bar=false",
    "evaluation.num_examples=4",
    "evaluation.num_generations=0",
    "evaluation.samples=0",
    "evaluation.blank_media_control=false",
    "logger.tensorboard=false",
    "checkpoint.every_n_steps=3",
]
SHORT_STAGE = {"TEST_STAGE_STEPS": "4"}  # heard by tests/reliability/forked.py
KINDS: dict[str, list[str]] = {
    "alone": [],
    "checkpoint": [],
    "export": [],
    "workers": ["loader.workers=2"],
    "two": ["strategy=ddp", "trainer.precision=32-true", "trainer.strategy.timeout_minutes=1"],
    "stage": ["init=stage:shapes"],
    "shards": [
        "algo=sft",
        "data=local",
        "data.train.path={shard}",
        "data.template={{kind: demonstration, prompt: [{{text: txt}}], completion: answer.txt}}",
        "data.limit=10",
        "data.val_share=0.4",
    ],
    "sweep": ["seed=1,2"],
}


@dataclass
class Place:
    """Where a command lives: its run folder, and the folders in which it must leave nothing."""

    root: Path
    cache: Path
    temporary: Path = field(init=False)
    cwd: Path = field(init=False)
    run: Path = field(init=False)

    def __post_init__(self) -> None:
        self.temporary, self.cwd, self.run = (self.root / name for name in ("tmp", "cwd", "run"))
        for folder in (self.temporary, self.cwd):
            folder.mkdir(parents=True)

    def start(self, argv: list[str]) -> Command:
        env = {"TMPDIR": str(self.temporary), "AA_LIGHTNING_CACHE": str(self.cache), **SHORT_STAGE}
        return Command("aa_lightning.train", argv, env, self.cwd)


def typed(kind: str, place: Place, shard: Path) -> list[str]:
    """The command line of a kind of run."""
    own = [item.format(shard=shard) for item in KINDS[kind]]
    keys = {item.partition("=")[0] for item in own} | (
        {"data.train.size", "data.val.size"} if kind == "shards" else set()
    )
    where = [f"hydra.sweep.dir={place.run}", "-m"] if kind == "sweep" else [f"hydra.run.dir={place.run}"]
    return [*(item for item in RUN if item.partition("=")[0] not in keys), *own, *where]


def write_shard(path: Path, samples: int = 3000) -> Path:
    """A shard whose index takes a moment to make; training reads its first rows."""
    with tarfile.open(path, "w") as tar:
        for number in range(samples):
            for ending, text in (("txt", f"What follows {number}?"), ("answer.txt", f"It is {number + 1}.")):
                entry = tarfile.TarInfo(f"{number:06d}.{ending}")
                content = text.encode()
                entry.size = len(content)
                tar.addfile(entry, BytesIO(content))
    return path


Moment = Callable[[], bool]  # whether it has come


def named_moment(kind: str, place: Place) -> Moment:
    """When a command writes its first logged step, a checkpoint, its export, or the index of a shard."""
    signs = {"alone": "run/metrics.csv", "checkpoint": "run/checkpoints/*.partial", "export": "run/.export.partial"}
    sign = signs.get(kind, "cache/shards/.*")
    return lambda: any(place.root.glob(sign))


def drawn_moment(kind: str, place: Place, lasts: float, draw: random.Random) -> Moment:
    """Anywhere in the life of a command, or where its kind is named after a place, there.

    Args:
        lasts: seconds that such a command lives when nobody kills it.
    """
    named, let_pass, later = named_moment(kind, place), draw.randrange(3), draw.uniform(0, 0.02)
    moment = time.monotonic() + draw.uniform(0, lasts)

    def comes_after_others() -> bool:
        passed = len(list(place.run.glob("checkpoints/*.ckpt"))) if kind == "checkpoint" else let_pass
        if not (named() and passed >= let_pass):
            return False
        time.sleep(later)
        return True

    if kind in ("checkpoint", "export"):
        return comes_after_others
    if kind == "shards" and draw.random() < 0.5:
        return named
    return lambda: time.monotonic() > moment


def kill_at(moment: Moment, kind: str, place: Place, shard: Path, number: int) -> tuple[int, str, float]:
    """Run a command until a moment, and send it a signal.

    Returns:
        Its exit code, what it said, and after how many seconds it was sent.
    """
    began, process = time.monotonic(), place.start(typed(kind, place, shard))
    with _ended(process):
        _wait(process, moment)
        sent = time.monotonic() - began
        process.send_signal(number)
        _, err = process.communicate(timeout=180)
        end = time.monotonic() + 5
        while session_of(process.pid) and time.monotonic() < end:
            time.sleep(0.05)
        assert not session_of(process.pid), f"{kind}: processes live on"
    return process.returncode, err, sent


def go_on(kind: str, place: Place, shard: Path) -> None:
    """Bring what was killed to its end."""
    if kind == "sweep":
        begun = [
            folder.parent for folder in sorted(place.run.glob("*/.hydra")) if (folder / "overrides.yaml").is_file()
        ]
        for folder in begun:
            _well(place.start([f"resume={folder}"]))
        return
    begun = (place.run / ".hydra" / "overrides.yaml").is_file()
    _well(place.start([f"resume={place.run}"] if begun else typed(kind, place, shard)))


def check_code(code: int, number: int, err: str) -> None:
    """A command that was still running says so by its exit code, and without a traceback."""
    expected = -9 if number == signal.SIGKILL else 128 + number
    assert code == expected, err
    if code > 0:
        assert "Traceback" not in err, err
        assert "Error" not in err, err


def check_left(place: Place) -> None:
    """Nothing beside the run folder, and nothing unfinished in it or in the cache."""
    assert not list(place.temporary.iterdir())
    assert not list(place.cwd.iterdir())
    for folder in (place.run, place.cache):
        unfinished = [path for end in (".part", ".partial", ".lock") for path in folder.rglob(f"*{end}")]
        assert not unfinished
    assert not list(place.run.rglob(".job-*"))


def check_equal(ours: Path, theirs: Path) -> None:
    """Weights to the bit, and every logged number."""
    one, other = (load_file(folder / "export" / "model.safetensors") for folder in (ours, theirs))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert [untimed(row) for row in rows_of(ours)] == [untimed(row) for row in rows_of(theirs)]


def cache_beside(cache: Path, root: Path) -> Path:
    """A cache with the tiny models of another one."""
    root.mkdir(parents=True)
    if (cache / "tiny").is_dir():
        (root / "tiny").symlink_to(cache / "tiny")
    return root


def _well(process: Command) -> None:
    with _ended(process):
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def _wait(process: Command, until: Callable[[], bool]) -> None:
    while process.poll() is None and not until():
        time.sleep(0.002)


@contextmanager
def _ended(process: Command) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
