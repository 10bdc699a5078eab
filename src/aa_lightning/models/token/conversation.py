"""Conversations that end in the token at which they are scored, and padding that is no such token.

Classifiers of transformers read the last token that is not padding. Templates write line breaks behind the end of a turn,
and many tokenizers pad with the very token that ends it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from aa_lightning.models.token.limits import limited

ANSWER = "ANSWER"
_SPARE = re.compile(r"pad|reserved|unused|extra", re.IGNORECASE)
_NEW = "<|pad|>"
_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")
_ENDING = (
    "{%% set rendered %%}%(template)s{%% endset %%}"
    "{%% if messages[-1]['role'] == 'assistant' and not add_generation_prompt %%}"
    "{{ rendered[:rendered|length - %(surplus)d] ~ %(missing)s }}"
    "{%% else %%}{{ rendered }}{%% endif %%}"
)


def padding_token(tokenizer: Any, taken: Collection[int], room: int) -> str | None:
    """A token to pad with.

    Args:
        taken: tokens that end responses or stand for media.
        room: rows of the embedding; a token that is not in the vocabulary yet needs one.

    Returns:
        The tokenizer's own if it is not taken, else one without a use, else a new one; None: there is none of them.
    """
    spare = [
        token
        for token, added in tokenizer.added_tokens_decoder.items()
        if added.special and _SPARE.search(added.content)
    ]
    for token in (tokenizer.pad_token_id, *spare, tokenizer.unk_token_id):
        if token is not None and token not in taken:
            return tokenizer.convert_ids_to_tokens(token)
    return _NEW if len(tokenizer) < room else None


def ending_at(processor: Any, end: str, as_lists: bool) -> str:
    """The chat template, changed so that a conversation which an answer closes ends in `end`.

    Args:
        end: the token that is scored.
        as_lists: whether the template reads lists of parts.
    """
    before, found, behind = rendered(processor, as_lists)[1].rpartition(ANSWER)[2].partition(end)
    surplus, missing = (len(behind), "") if found else (len(before), end)
    if not surplus and not missing:
        return processor.chat_template
    own = _GENERATION.sub(_as_condition, processor.chat_template.removesuffix("\n"))
    return _ENDING % {"template": own, "surplus": surplus, "missing": repr(missing)}


def _as_condition(tag: re.Match[str]) -> str:
    """Replace marks of the model's own words, which count characters from the block that they stand in, by a condition."""
    before, end, after = tag.groups()
    return f"{before}endif{after}" if end else f"{before}if true{after}"


def rendered(processor: Any, as_lists: bool) -> tuple[str, str]:
    """(a question up to where its answer begins, the question with an answer), as the template writes them."""
    asked, answered = (_turn(role, said, as_lists) for role, said in (("user", "?"), ("assistant", ANSWER)))
    render = processor.apply_chat_template
    with limited():
        return render([asked], tokenize=False, add_generation_prompt=True), render([asked, answered], tokenize=False)


def _turn(role: str, said: str, as_lists: bool) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": said}] if as_lists else said}
