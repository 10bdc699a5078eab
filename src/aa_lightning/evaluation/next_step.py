"""The command to type after a run, with a question that its model was asked already."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Literal

from aa_lightning.configuration.literal import as_string
from aa_lightning.runs.layout import RunFolder
from aa_lightning.runs.received import TRUST, names_code

_LONGEST = 200  # characters of a question that is worth typing


def next_command(run: Path, trains: Literal["policy", "reward_model"]) -> str:
    """Write the command that looks at a run: a reward model is measured; a policy is asked the first question among the
    samples that fits into a line, about the media shown there, or talked to."""
    opened = [shlex.quote(f"run={run}"), *([TRUST] if names_code(run) else [])]
    if trains == "reward_model":
        return " ".join(["python -m aa_lightning.evaluate", *opened])
    return " ".join(["python -m aa_lightning.generate", *opened, *_question(RunFolder(run).samples)])


def _question(folder: Path) -> list[str]:
    """`prompt="…" image=…` of the first sample that is one turn; nothing where there is none."""
    file = folder / "after.json"
    samples = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for sample in samples:
        turns = [turn["content"] for turn in sample["prompt"] if turn["role"] != "system"]
        text = "".join(part["text"] for part in turns[0] if part["type"] == "text").strip()
        if len(turns) == 1 and 0 < len(text) <= _LONGEST and "\n" not in text:
            return [_typed("prompt", text), *_files(folder, turns[0])]
    return []


def _files(folder: Path, parts: list[dict[str, Any]]) -> list[str]:
    kinds = dict.fromkeys(part["type"] for part in parts if part["type"] != "text")
    named = {kind: [str(folder / part[kind]) for part in parts if part["type"] == kind] for kind in kinds}
    return [_typed(kind, *files) for kind, files in named.items()]


def _typed(key: str, *values: str) -> str:
    """`key=value` for a shell: one value to the character, several as a list of Hydra's grammar."""
    return shlex.quote(f"{key}={values[0]}" if len(values) == 1 else f"{key}=[{','.join(map(as_string, values))}]")
