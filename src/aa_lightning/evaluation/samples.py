"""Samples that a person can open: messages and responses as JSON, their media as files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from aa_lightning import media
from aa_lightning.system.atomic import write_text
from aa_lightning.types import Message, Part, Prompt, Response


class Drawn(Protocol):
    """A prompt with K responses, and what each reward gave them, (K) by its name."""

    prompt: Prompt
    responses: Sequence[Response]
    rewards: Mapping[str, Sequence[float]]


def save_samples(
    folder: Path,
    name: str,
    prompts: Sequence[Prompt],
    responses: dict[str, Sequence[Response]],
    verdicts: Mapping[str, bool | None] = MappingProxyType({}),
) -> Path:
    """Write `<name>.json` and the media of prompts and responses.

    Args:
        folder: made if it is not there.
        name: `before`, `after`.
        prompts: what was asked.
        responses: for each label (`policy`, `reference answer`, …) one response for each prompt.
        verdicts: by a prompt's id, whether the policy's response is right; None, or no verdict: that was not checked.

    Returns:
        The JSON file.
    """

    def told(number: int, stem: str) -> dict[str, Any]:
        of_labels = {
            label: _parts(folder, f"{stem}_{name}_{label.replace(' ', '_')}", said[number])
            for label, said in responses.items()
        }
        return {"right": verdicts.get(prompts[number].id), "responses": of_labels}

    return _save(folder, name, prompts, [f"{number:03d}" for number in range(len(prompts))], told)


def save_drawn(folder: Path, moment: str, step: int, groups: Sequence[Drawn]) -> Path:
    """Write `drawn_<moment>.json`, responses that a policy drew in training with their rewards, and the media.

    Args:
        folder: made if it is not there.
        moment: `first`, `latest`.
        step: at which they were learned from.
        groups: prompts with their responses.

    Returns:
        The JSON file.
    """

    def told(number: int, stem: str) -> dict[str, Any]:
        said = [_parts(folder, f"{stem}_{k}", one) for k, one in enumerate(groups[number].responses)]
        return {"step": step, "responses": said, "rewards": groups[number].rewards}

    name = f"drawn_{moment}"
    stems = [f"{name}_{number}" for number in range(len(groups))]
    return _save(folder, name, [group.prompt for group in groups], stems, told)


def _save(
    folder: Path, name: str, prompts: Sequence[Prompt], stems: Sequence[str], told: Callable[[int, str], dict[str, Any]]
) -> Path:
    """Write what was asked, and what is told of each prompt by its number and the stem of its files' names."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (prompt, stem) in enumerate(zip(prompts, stems, strict=True)):
        asked = [_message(folder, f"{stem}_prompt{i}", message) for i, message in enumerate(prompt.messages)]
        rows.append({"id": prompt.id, "answer": prompt.answer, "prompt": asked, **told(number, stem)})
    target = folder / f"{name}.json"
    write_text(target, json.dumps(rows, indent=1, ensure_ascii=False))
    return target


def _message(folder: Path, stem: str, message: Message) -> dict[str, Any]:
    return {"role": message["role"], "content": _parts(folder, stem, message["content"])}


def _parts(folder: Path, stem: str, parts: Sequence[Part]) -> list[Part]:
    return [saved for i, part in enumerate(parts) for saved in _saved(folder, f"{stem}_{i}", part)]


def _saved(folder: Path, stem: str, part: Part) -> list[Part]:
    """The part with the name of its file; the sound track of a clip is a part of its own."""
    kind = part["type"]
    if kind == "text":
        return [part]
    saved = {"type": kind, kind: media.save(part, folder / stem).name}
    track = part[kind].sound if kind == "video" else None
    return [saved] if track is None else [saved, *_saved(folder, f"{stem}_track", {"type": "audio", "audio": track})]
