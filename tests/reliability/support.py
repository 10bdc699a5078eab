"""Tiny runs, in this process or by the real command, and what others make of their exports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.assembly.policy import build_policy
from aa_lightning.assembly.stages import starting_point
from aa_lightning.configuration.compose import compose
from aa_lightning.runs.checkpoints import newest

ROOT = Path(__file__).parents[2]
TRAIN = [sys.executable, "-W", "ignore", "-m", "aa_lightning.train"]
SHAPES = ["data.train.size=16", "data.val.size=8"]
UNMEASURED = [  # every step is logged, and little else is done
    "init=null",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "evaluation.before=false",
    "evaluation.num_examples=4",
    "evaluation.num_generations=0",
    "evaluation.samples=0",
    "evaluation.blank_media_control=false",
]
SHORT = [*UNMEASURED, "loader.batch_size=4", "trainer.max_steps=2", "logger.tensorboard=false"]
TINY = [*SHORT, *SHAPES]


def start(command: list[str], *arguments: str, **options: Any) -> subprocess.Popen:
    """A command in a process group of its own, that finds this checkout's package."""
    paths = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "120", **options.pop("env", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [*command, *map(str, arguments)], env=env, process_group=0, preexec_fn=hears_ctrl_c, **pipes, **options
    )


def hears_ctrl_c() -> None:
    """Tests that a shell started in the background ignore Ctrl-C, and so would whatever they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def call(command: list[str], *arguments: str, timeout: float = 300, **options: Any) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    process = start(command, *arguments, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


def ask_alone(questions: list[dict], folder: Path) -> list[list[float]]:
    """Answers of `alone.py`, in a process that never imports this package."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "questions.json").write_text(json.dumps(questions))
    script = Path(__file__).with_name("alone.py")
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(script),
        str(folder / "questions.json"),
        str(folder / "answers.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "answers.json").read_text())


def fresh_policy(overrides: list[str]):
    """Configuration and policy of a run before its first step."""
    cfg = compose(overrides)
    return cfg, build_policy(cfg, instantiate(cfg.algo, _convert_="all"), starting_point(cfg)).eval()


def trained_policy(overrides: list[str], run: Path):
    """Configuration and policy of a run, its trained weights taken from the last checkpoint, not from the export."""
    cfg, policy = fresh_policy(overrides)
    saved = torch.load(newest(run), weights_only=True)["state_dict"]
    policy.load_state_dict({name.removeprefix("policy."): value for name, value in saved.items()})
    return cfg, policy


@torch.no_grad()
def question(cfg, policy, export: Path, folder: Path) -> tuple[dict, list[float]]:
    """What to ask of an export about the first held-out row, and what the policy itself answers.

    An exported classifier is asked for the scores of both answers, padded on the right, and again on the left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    example = read_examples(data_options(cfg), "val", "preference")[0]
    batch = policy.encoder.collate([policy.encoder.encode(example, example.responses[:1])])
    prompt = " ".join(p["text"] for m in example.messages for p in m["content"] if p["type"] == "text")
    asked = {"folder": str(export), "prompt": prompt, "kind": "text"}
    if cfg.model.likelihood == "elbo":
        batch = policy.prepare(batch)
        drawn = {"latents": batch.draws["latents"][0, 0], **{k: batch.draws[k][0] for k in ("timesteps", "noise")}}
        torch.save({name: value.clone() for name, value in drawn.items()}, folder / "inputs.pt")
        asked |= {"kind": "pictures", "inputs": str(folder / "inputs.pt")}
        return asked, policy.log_likelihood(batch).terms[0, 0].tolist()
    pictures = [p["image"] for m in example.messages for p in m["content"] if p["type"] == "image"]
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    if (export / "config.json").is_file() and "ForSequenceClassification" in (export / "config.json").read_text():
        longer = [*example.responses[1], {"type": "text", "text": " That is what the picture shows."}]
        responses = [example.responses[0], longer]  # so that one of them is padded
        both = policy.encoder.collate([policy.encoder.encode(example, responses)])
        answers = ["".join(part["text"] for part in response) for response in responses]
        asked |= {"kind": "scores", "pictures": [str(path) for path in paths], "answers": answers}
        return asked, policy.score(both)[0].tolist() * 2
    tokens = batch.response["input_ids"][0, 0]
    asked |= {"pictures": [str(path) for path in paths], "response": tokens.tolist()}
    if hasattr(policy, "score"):
        return asked, policy.score(batch)[0].tolist()
    return asked, policy.log_likelihood(batch).terms[0, 0].tolist()
