"""Run folders as a training command leaves them, with numbers that a test can recompute by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from PIL import Image, ImageDraw

COLUMNS = ("train/loss", "train/reward/margin", "train/reward/accuracy", "train/logp/chosen", "train/logp/rejected")
QUESTION = "What colour is the <b>shape</b> & where?"


def make_run(folder: Path, *, after: float = 0.91, rows: int = 60, beta: float = 0.1, finished: bool = True) -> Path:
    """A DPO run: held-out preference accuracy 0.52 → `after`, `rows` logged steps 10, 20, …, two samples."""
    folder.mkdir(parents=True)
    config = {
        "algo": {"beta": beta},
        "evaluation": {"num_examples": 256, "num_generations": 128},
        "trainer": {"max_steps": 10 * rows},
    }
    OmegaConf.save(config, folder / "config.yaml")
    record_hydra(folder, ["algo=dpo", f"algo.beta={beta}"])
    write_metrics(folder, rows)
    (folder / "export").mkdir()
    (folder / "checkpoints").mkdir()
    if finished:
        write_samples(folder)
        write_json(folder / "summary.json", summary(after, beta))
    return folder


def record_hydra(folder: Path, overrides: list[str], direction: str = "maximize") -> None:
    choices = {"algo": "dpo", "model": "tiny_llava", "modality": "ti2t", "data": "shapes_ti2t"}
    hydra = {"job": {"name": "train"}, "runtime": {"choices": choices}, "sweeper": {"direction": direction}}
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save({"hydra": hydra}, folder / ".hydra" / "hydra.yaml")
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")
    OmegaConf.save({"algo": {"beta": "???"}}, folder / ".hydra" / "config.yaml")


def summary(after: float, beta: float) -> dict[str, Any]:
    return {
        "command": "train.py algo=dpo",
        "algo": "dpo",
        "modality": "ti2t",
        "model": "tiny:llava",
        "before": {
            "heldout/preference_accuracy": 0.52,
            "heldout/margin": 0.0,
            "heldout/answer_accuracy": 0.21,
            "heldout/blank/preference_accuracy": 0.5,
        },
        "after": {
            "heldout/preference_accuracy": after,
            "heldout/margin": 1.75,
            "heldout/answer_accuracy": 0.64,
            "heldout/blank/preference_accuracy": 0.55,
        },
        "examples": {
            "heldout/preference_accuracy": 256,
            "heldout/margin": 256,
            "heldout/answer_accuracy": 128,
            "heldout/blank/preference_accuracy": 256,
        },
        "train": {"train/loss": 0.21},
        "throughput": {"prompts_per_s": 41.5, "steps": 600, "train_s": 116.0},
        "memory": {"peak_gib": 1.25},
        "dropped": [{"row": 17, "column": "image", "reason": "cannot identify <image> file"}],
        "paths": {},
        "objective": after,
    }


def write_metrics(folder: Path, rows: int) -> None:
    lines = ["step,epoch," + ",".join(COLUMNS) + ",train/lr,val/loss,time/step_s,data/padding_share,heldout/margin"]
    for row in range(rows):
        x = row / rows
        values = [math.log(2) * math.exp(-2 * x), 2 * x, 0.5 + 0.4 * x, -40 - 5 * x, -41 - 15 * x, 1e-4 * (1 - x)]
        val = f"{0.69 - 0.3 * x:.6f}" if row % 20 == 0 else ""
        lines.append(f"{10 * (row + 1)},0," + ",".join(f"{v:.8g}" for v in values) + f",{val},0.19,0.0833,")
    lines.append(f"{10 * rows},0,,,,,,,,,,1.75")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def write_samples(folder: Path) -> None:
    """Two samples about a picture; the second answer is long."""
    pictures = folder / "samples"
    pictures.mkdir()
    for moment in ("before", "after"):
        write_json(pictures / f"{moment}.json", [_sample(pictures, index, moment) for index in range(2)])


def _sample(pictures: Path, index: int, moment: str) -> dict[str, Any]:
    name = f"prompt_{index}.png"
    colour, x = [("red", 10), ("blue", 50)][index]
    picture = Image.new("RGB", (96, 96), "white")
    ImageDraw.Draw(picture).ellipse((x, 30, x + 36, 66), fill=colour)
    picture.save(pictures / name)
    content = [{"type": "image", "image": name}, {"type": "text", "text": QUESTION}]
    long = " And so on." * 90 * index
    said = {"before": "blue blue <script>alert(1)</script>", "after": f"A {colour} circle.{long}"}
    answers = {"data": f"A {colour} circle.", "policy": said[moment]}
    responses = {key: [{"type": "text", "text": value}] for key, value in answers.items()}
    return {
        "id": f"shapes/{index}",
        "answer": colour,
        "prompt": [{"role": "user", "content": content}],
        "responses": responses,
    }


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))
