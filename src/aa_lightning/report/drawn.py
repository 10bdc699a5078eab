"""Responses that a policy drew in training, with the rewards that they got."""

from __future__ import annotations

from typing import Any

from aa_lightning.report.media import Media
from aa_lightning.report.page import Html, join, number, section, table, tag
from aa_lightning.report.samples import shown_message, shown_parts
from aa_lightning.runs.reader import Run


def drawn_section(run: Run) -> Html | None:
    """A table for each prompt, of the first rollout and of the latest; None where nothing was drawn."""
    media = Media(run)
    cards = [
        _card(media, moment, group) for moment in ("first", "latest") for group in run.drawn.get(f"drawn_{moment}", [])
    ]
    return section(f"Drawn in training ({len(cards)} prompts)", *cards) if cards else None


def _card(media: Media, moment: str, group: dict[str, Any]) -> Html:
    rewards = group["rewards"]
    rows = [
        [shown_parts(media, said), *(number(values[place]) for values in rewards.values())]
        for place, said in enumerate(group["responses"])
    ]
    expected = tag("p", f"expected answer: {group['answer']}") if group.get("answer") is not None else None
    return tag(
        "article",
        tag("header", f"{moment} rollout · step {group['step']} · {group['id']}"),
        tag("div", join(shown_message(media, one) for one in group["prompt"]), expected, class_="prompt"),
        table(["response", *rewards], rows),
        class_="sample",
    )
