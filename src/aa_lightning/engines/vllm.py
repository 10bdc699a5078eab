"""vLLM, with the policy's weights: they are written to a folder, and read again before each drawing."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from aa_lightning.engines.engine import Engine
from aa_lightning.engines.tokens import Answer, drawn, prompt_tokens
from aa_lightning.models.token.row_draws import seeds_of
from aa_lightning.types import Batch, Prompt, Rollout, Sampling

_SHARE = 0.4  # of a graphics card's memory, which the policy needs too


class Vllm(Engine):
    """One `vllm.LLM` beside the policy, on the same device.

    Log-probabilities are asked for as they are after the temperature (`logprobs_mode`), and no token is cut off. It serves
    one process, and no clips.
    """

    def __init__(self):
        self._llm: Any = None
        self._folder = tempfile.TemporaryDirectory(prefix="aa_vllm_")

    @torch.no_grad()
    def generate(self, policy: Any, prompts: Sequence[Prompt], batch: Batch, n: int, sampling: Sampling) -> Rollout:
        import vllm

        self._follow(policy)
        tokens = prompt_tokens(batch)
        how = [
            vllm.SamplingParams(
                n=n,
                temperature=sampling.temperature,
                top_p=1.0,
                top_k=-1,
                max_tokens=sampling.max_new_tokens,
                stop_token_ids=[policy.encoder.end],
                logprobs=0,
                detokenize=False,
                seed=seed,
            )
            for seed in seeds_of(sampling.seeds, len(tokens))
        ]
        asked = [_asked(policy.encoder, *one) for one in zip(prompts, tokens, strict=True)]
        found = self._llm.generate(asked, how, use_tqdm=False)
        for prompt, own, one in zip(prompts, tokens, found, strict=True):
            _check(prompt, own, list(one.prompt_token_ids))
        rows = [[_answer(one) for one in sorted(row.outputs, key=lambda one: one.index)] for row in found]
        return policy.rollout(batch, drawn(rows, policy.encoder.pad, batch.prompt["input_ids"].device), sampling)

    def _follow(self, policy: Any) -> None:
        """Give the weights of the policy, an adapter added to them; the first time with all that makes a model."""
        import vllm

        folder, adapters = Path(self._folder.name), policy.adapters
        weights = None if adapters is None else adapters.merged()
        policy.network.model.save_pretrained(folder, state_dict=weights)
        if self._llm is not None:
            self._llm.collective_rpc("reload_weights")
            self._llm.reset_prefix_cache()
            return
        policy.encoder.processor.save_pretrained(folder)
        self._llm = vllm.LLM(
            model=str(folder),
            dtype=str(policy.network.writer.dtype).removeprefix("torch."),
            gpu_memory_utilization=_SHARE,
            logprobs_mode="processed_logprobs",
            generation_config="vllm",  # nothing of the checkpoint's own defaults
        )


def _asked(encoder: Any, prompt: Prompt, tokens: list[int]) -> dict[str, Any]:
    """A prompt as vLLM takes it: its tokens, or its text with the media beside it."""
    media: dict[str, list[Any]] = {}
    for message in prompt.messages:
        for part in message["content"]:
            if part["type"] == "video":
                raise ValueError("rollout.engine=vllm is given no clips: type rollout.engine=own")
            if part["type"] != "text":
                media.setdefault(part["type"], []).append(part[part["type"]])
    if not media:
        return {"prompt_token_ids": tokens}
    shown = dict(media)
    if "audio" in media:
        shown["audio"] = [(sound.samples, sound.rate) for sound in media["audio"]]
    begin = encoder.tokenizer.bos_token or ""
    return {"prompt": encoder.chat.prompt(prompt).removeprefix(begin), "multi_modal_data": shown}


def _check(prompt: Prompt, own: list[int], theirs: list[int]) -> None:
    """Refuse to learn from answers to another prompt than the one that is trained on."""
    if own != theirs:
        raise ValueError(
            f"prompt {prompt.id} has {len(own)} tokens here and {len(theirs)} others in vLLM, so that its answers would be "
            "to another prompt: type rollout.engine=own"
        )


def _answer(found: Any) -> Answer:
    logprobs = [step[token].logprob for token, step in zip(found.token_ids, found.logprobs, strict=True)]
    return Answer(list(found.token_ids), logprobs, found.finish_reason == "stop")
