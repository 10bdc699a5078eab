"""Facts that a reward model is told and the policy is not: the factually augmented rewards of LLaVA-RLHF, 2309.14525."""

from __future__ import annotations

from dataclasses import replace

from aa_lightning.types import Prompt, text


def with_facts(prompt: Prompt, name: str) -> Prompt:
    """Return a prompt with facts on a line of their own behind its question.

    Args:
        prompt: of the data.
        name: of the facts among what the data keeps (`data.template.keep`).

    Raises:
        ValueError: the data keeps nothing of that name.
    """
    if name not in prompt.keep:
        raise ValueError(
            f"facts={name} of a reward model names what the data keeps, and it keeps {', '.join(prompt.keep) or 'nothing'}: "
            f"type +data.template.keep.{name}=<column>"
        )
    *before, last = prompt.messages
    asked = {**last, "content": [*last["content"], text(f"\n{prompt.keep[name]}")]}
    return replace(prompt, messages=[*before, asked])
