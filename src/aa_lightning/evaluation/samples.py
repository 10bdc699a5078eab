"""Samples that a person can open: messages and responses as JSON, their media as files beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aa_lightning.types import Message, Part, Prompt, Response


def save_samples(folder: Path, name: str, prompts: Sequence[Prompt], responses: dict[str, Sequence[Response]]) -> Path:
    """Write `<name>.json` and the media of prompts and responses.

    Args:
        folder: made if it is not there.
        name: `before`, `after`.
        prompts: what was asked.
        responses: for each label (`policy`, `reference answer`, …) one response for each prompt.

    Returns:
        The JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, prompt in enumerate(prompts):
        stem = f"{number:03d}"
        rows.append(
            {
                "id": prompt.id,
                "answer": prompt.answer,
                "prompt": [_message(folder, f"{stem}_prompt{i}", m) for i, m in enumerate(prompt.messages)],
                "responses": {
                    label: _parts(folder, f"{stem}_{name}_{label.replace(' ', '_')}", said[number])
                    for label, said in responses.items()
                },
            }
        )
    target = folder / f"{name}.json"
    target.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return target


def _message(folder: Path, stem: str, message: Message) -> dict[str, Any]:
    return {"role": message["role"], "content": _parts(folder, stem, message["content"])}


def _parts(folder: Path, stem: str, parts: Sequence[Part]) -> list[Part]:
    return [_saved(folder, f"{stem}_{i}", part) for i, part in enumerate(parts)]


def _saved(folder: Path, stem: str, part: Part) -> Part:
    if part["type"] == "text":
        return part
    assert part["type"] == "image", part["type"]
    file = f"{stem}.png"
    part["image"].save(folder / file)
    return {"type": "image", "image": file}
