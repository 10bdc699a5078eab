"""Benchmarks of the shipped configuration, read from files of our own rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from PIL import Image

from aa_lightning.benchmarks.options import Benchmark
from aa_lightning.benchmarks.questions import Questions
from aa_lightning.configuration.composed import section
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.types import Prompt
from tests.data.media_files import clip_file, greys, sound_file, tone
from tests.questions.rows import CASES, PICTURE, SOUND

NAMES = option_names([conf_dir()])["benchmark"]
SHAPES = [name for name in NAMES if name.startswith("shapes_")]


def options(name: str, **changes: Any) -> Benchmark:
    """A benchmark as its file says it, with other values of some keys; those of `data` are merged."""
    cfg = section("benchmark", name, [conf_dir()]).benchmark[name]
    OmegaConf.set_struct(cfg, False)
    return Benchmark(**OmegaConf.to_container(OmegaConf.merge(cfg, changes), resolve=True))


def written(name: str, folder: Path) -> Path:
    """The rows of a benchmark as a file, with their media beside it."""
    Image.new("RGB", (32, 32), "red").save(folder / PICTURE)
    (folder / SOUND).write_bytes(sound_file(tone(seconds=0.2)))
    if name == "video_mme":
        (folder / "clip.mp4").write_bytes(clip_file(greys(8)))
    file = folder / f"{name}.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in CASES[name].rows))
    return file


def questions(name: str, folder: Path, **changes: Any) -> Questions:
    """The questions of a benchmark, out of the rows of ours."""
    data = {"path": str(written(name, folder)), **({"root": str(folder)} if name == "video_mme" else {})}
    return Questions(options(name, data=data, **changes))


def asked(prompt: Prompt) -> str:
    """The words of a prompt, with what is shown in brackets."""
    shown = {"image": "[red]", "audio": "[sound]", "video": "[clip]"}
    parts = prompt.messages[-1]["content"]
    return "".join(part["text"] if part["type"] == "text" else shown[part["type"]] for part in parts)
