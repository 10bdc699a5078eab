"""The checkpoints of a run folder: which are finished, which is the newest, whether it is whole. Imports no torch.

A checkpoint of one file is a zip archive, as torch writes it, with a checksum of every part. One in shards is a folder, to
which `seal` adds SHA256SUMS, as `sha256sum --check` reads it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import zipfile
import zlib
from pathlib import Path

from aa_lightning.runs.layout import RunFolder

_NAME = re.compile(r"step_(\d+)\.ckpt$")
_SUMS = "SHA256SUMS"


def complete(folder: Path) -> list[Path]:
    """Finished checkpoints of a folder, oldest first."""
    found = [path for path in folder.glob("step_*.ckpt") if _NAME.search(path.name)]
    return sorted(found, key=step_of)


def newest(run: Path) -> Path | None:
    """The newest finished checkpoint of a run folder; None where there is none yet."""
    return next(reversed(complete(RunFolder(run).checkpoints)), None)


def step_of(checkpoint: Path) -> int:
    """The optimiser steps behind a finished checkpoint."""
    return int(_NAME.search(checkpoint.name).group(1))


def seal(checkpoint: Path) -> None:
    """Write down the checksums of a checkpoint in shards; one of a single file has its own."""
    if checkpoint.is_dir():
        files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
        lines = [f"{_sha256(path)}  {path.relative_to(checkpoint).as_posix()}\n" for path in files]
        (checkpoint / _SUMS).write_text("".join(lines), encoding="utf-8")


def damage(checkpoint: Path) -> str | None:
    """Describe what is wrong with the bytes of a checkpoint; None: nothing, or nothing is known of them."""
    if checkpoint.is_dir():
        return _damage_of_shards(checkpoint)
    if not checkpoint.stat().st_size:
        return "it is empty"
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            spoiled = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError, RuntimeError):
        return "it was cut off, or its end is damaged"
    return None if spoiled is None else f"bytes of {spoiled} have changed since it was written"


def check_whole(checkpoint: Path, given: str) -> None:
    """Refuse a checkpoint that is damaged.

    Args:
        given: what was typed to come to it, as `resume=<run folder>`.

    Raises:
        ValueError: what is wrong with it, and how to go on, or start, from the one before.
    """
    why = damage(checkpoint)
    if why is None:
        return
    older = [one for one in complete(checkpoint.parent) if one != checkpoint and damage(one) is None]
    other = f"{older[-1].name} is whole" if older else "no other one is whole"
    after = f"after step {step_of(older[-1])}" if older else "at its beginning"
    if given.startswith("resume="):
        advice = f"rm -r {shlex.quote(str(checkpoint))}, and the same command again, to go on {after}"
    else:
        advice = shlex.quote(f"init={older[-1]}") if older else "init=<another run folder, export folder or .ckpt>"
    raise ValueError(f"{given} cannot use {checkpoint.name}: {why}; {other}\ntype: {advice}")


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint, a file or a folder; one that is not there is no error."""
    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)


def _damage_of_shards(checkpoint: Path) -> str | None:
    sums = checkpoint / _SUMS
    if not sums.is_file():
        return None  # of an earlier version
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if _sha256(file) != digest:
            return f"bytes of {name} have changed since it was written"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
