"""Samples before and after, side by side, with their media inside the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aa_lightning.report.media import Media
from aa_lightning.report.page import Html, join, section, table, tag
from aa_lightning.runs.reader import Run

_TITLES = {"data": "in the data", "chosen": "chosen in the data", "rejected": "rejected in the data"}
FROM_DATA = tuple(_TITLES)  # responses that the data set gives; all others were sampled
LONG_TEXT = 600  # characters; the rest is folded away


def samples_section(run: Run) -> Html | None:
    """One card per sample, or None where nothing was sampled."""
    before, after = (_by_id(run.samples.get(moment, [])) for moment in ("before", "after"))
    cards, media = [], Media(run)
    for name, sample in {**before, **after}.items():
        moments = {"before": before.get(name), "after": after.get(name)}
        cards.append(_card(media, sample, {moment: one for moment, one in moments.items() if one}))
    return section(f"Samples ({len(cards)})", *cards) if cards else None


def side_by_side(runs: Sequence[Run]) -> Html:
    """The samples that all runs share: the prompt, then what each run answered after training. For notebooks.

    Raises:
        ValueError: the runs share no sample.
    """
    after = [_by_id(run.samples.get("after", [])) for run in runs]
    shared = [name for name in after[0] if all(name in samples for samples in after)]
    if not shared:
        raise ValueError("these runs share no sample: compare runs with the same data, seed and evaluation.samples > 0")
    media = [Media(run) for run in runs]
    rows = []
    for name in shared:
        asked = [shown_message(media[0], message) for message in after[0][name]["prompt"]]
        chosen = shown_parts(media[0], after[0][name]["responses"].get("data", []))
        said = [_own_parts(own, samples[name]["responses"]) for own, samples in zip(media, after, strict=True)]
        rows.append([join(asked), chosen, *said])
    return table(["prompt", "in the data", *(run.name for run in runs)], rows)


def _by_id(samples: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(sample["id"]): sample for sample in samples}


def _card(media: Media, sample: dict[str, Any], moments: dict[str, dict[str, Any]]) -> Html:
    prompt = [shown_message(media, message) for message in sample["prompt"]]
    given = {name: parts for name, parts in sample["responses"].items() if name in FROM_DATA}
    data = [_answer(media, _TITLES[name], parts, name) for name, parts in given.items()]
    if sample.get("answer") is not None:
        data.append(_answer(media, "expected answer", [{"type": "text", "text": str(sample["answer"])}], "chosen"))
    sampled = [_sampled(media, moment, one["responses"], one.get("right")) for moment, one in moments.items()]
    return tag(
        "article",
        tag("header", f"sample {sample['id']}"),
        tag("div", *prompt, class_="prompt"),
        tag("div", *sampled, class_="sampled") if sampled else None,
        tag("div", *data, class_="given") if data else None,
        class_="sample",
    )


def _own_parts(media: Media, responses: dict[str, list[dict[str, Any]]]) -> Html:
    """Select the model's own answer, without a heading."""
    return join(shown_parts(media, parts) for name, parts in responses.items() if name not in FROM_DATA)


def _sampled(media: Media, moment: str, responses: dict[str, list[dict[str, Any]]], right: bool | None) -> Html:
    own = {name: parts for name, parts in responses.items() if name not in FROM_DATA}
    said = moment if right is None else f"{moment} · {'right' if right else 'wrong'}"
    titles = {name: said if len(own) == 1 else f"{said} · {name}" for name in own}
    return tag("div", *(_answer(media, titles[name], parts, moment) for name, parts in own.items()))


def _answer(media: Media, title: str, parts: list[dict[str, Any]], class_: str) -> Html:
    body = shown_parts(media, parts) if parts else tag("p", "(empty)", class_="missing")
    return tag("div", tag("h4", title), body, class_=f"answer {class_}")


def shown_message(media: Media, message: dict[str, Any]) -> Html:
    return tag("div", tag("h4", message["role"]), shown_parts(media, message["content"]), class_="message")


def shown_parts(media: Media, parts: list[dict[str, Any]]) -> Html:
    return join(_part(media, part) for part in parts)


def _part(media: Media, part: dict[str, Any]) -> Html:
    kind = part["type"]
    content = part[kind]
    if kind in ("image", "audio", "video") and isinstance(content, str):
        return media.element(kind, content)
    return _text(str(content) if kind == "text" else f"[{kind}] {content}")


def _text(content: str) -> Html:
    if not content.strip():
        return tag("p", "(empty)" if not content else f"(blank: {content!r})", class_="missing")
    if len(content) <= LONG_TEXT:
        return tag("p", content, class_="text")
    rest = tag("details", tag("summary", f"{len(content) - LONG_TEXT:,} more characters"), content[LONG_TEXT:])
    return tag("div", content[:LONG_TEXT], rest, class_="text")
