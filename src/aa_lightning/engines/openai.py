"""Another model behind an OpenAI-compatible endpoint: the policy learns from its responses as if they were its own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aa_lightning.configuration.schema import Endpoint
from aa_lightning.engines.engine import Engine
from aa_lightning.engines.tokens import Answer, drawn
from aa_lightning.models.token.row_draws import seeds_of
from aa_lightning.rewards import http
from aa_lightning.rewards.remote import as_openai
from aa_lightning.types import Batch, Message, Prompt, Rollout, Sampling, text


class OpenAI(Engine):
    """A frozen model that a server speaks for. One request is sent for each response, since servers may ignore `n`.

    Args:
        options: the section `rollout.endpoint`.

    Raises:
        ValueError: its address is none, or its key is not there.
    """

    reports = False

    def __init__(self, options: Endpoint):
        url = f"{(options.url or '').rstrip('/')}/chat/completions"
        self._options = options
        self._at = http.address(url, options.timeout, options.tries, options.parallel, options.key_env)

    def generate(self, policy: Any, prompts: Sequence[Prompt], batch: Batch, n: int, sampling: Sampling) -> Rollout:
        seeded = zip(prompts, seeds_of(sampling.seeds, len(prompts)), strict=True)
        asked = [self._body(prompt, sampling, (seed + k) % 2**31) for prompt, seed in seeded for k in range(n)]
        with ThreadPoolExecutor(self._options.parallel) as threads:
            told = list(threads.map(self._at.post, asked))
        said = [self._said(one) for one in told]
        answers = [
            _answer(policy.encoder, prompts[place // n], *one, sampling.max_new_tokens)
            for place, one in enumerate(said)
        ]
        rows = [answers[start : start + n] for start in range(0, len(answers), n)]
        return policy.rollout(batch, drawn(rows, policy.encoder.pad, batch.prompt["input_ids"].device), sampling)

    def _body(self, prompt: Prompt, sampling: Sampling, seed: int) -> http.Body:
        return {
            "model": self._options.model,
            "messages": [_turn(message) for message in prompt.messages],
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": 1.0,
            "seed": seed,
        }

    def _said(self, told: Any) -> tuple[str, bool]:
        """The words of an answer, and whether they came to their end."""
        try:
            choice = told["choices"][0]
            return choice["message"]["content"] or "", choice["finish_reason"] != "length"
        except (KeyError, IndexError, TypeError):
            raise http.Refused(
                f"{self._at.url} answered {told!s:.200}, in which there is no choices[0].message.content"
            ) from None


def _turn(message: Message) -> dict[str, Any]:
    parts = message["content"]
    if all(part["type"] == "text" for part in parts):
        return {"role": message["role"], "content": "".join(part["text"] for part in parts)}
    shown = [text(part["text"]) if part["type"] == "text" else as_openai(part) for part in parts]
    return {"role": message["role"], "content": shown}


def _answer(encoder: Any, prompt: Prompt, said: str, ended: bool, most: int) -> Answer:
    """The tokens that the policy has for the words of another model."""
    tokens = encoder.encode(prompt, [[text(said)]]).responses[0].tolist()
    if not ended:
        tokens = tokens[:-1] or tokens
    return Answer(tokens[:most], [], ended and len(tokens) <= most)
