"""The talker of Qwen3-Omni (2509.17765 section 2.4): a step is a token of each of G codebooks, and text needs no states.

    user's turns | answer's header | pad     | pad       | pad     | pad     | start | text 1      | text 2 | …
                 |                 | nothink | think bos | think eos | speaker | pad   | codec start | step 1 | …

Words are the thinker's embeddings, media its states inside (`accept_hidden_layer`), each through a projection of its own;
the system's and the assistant's earlier words are left out. A step is fed back as the sum of its tokens' embeddings. Its
first token is the talker's; a small network inside, the code predictor, says the others one after another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.media.audio import Sound
from aa_lightning.models.speech.talker import RATE, Codes, Draw, Rows, Talker, prompts, text_steps
from aa_lightning.models.token.layouts import Layout
from aa_lightning.types import Batch

_SPECIAL = 1024  # tokens at the top of the first codebook, of which the library draws the end alone


class Qwen3Talker(Talker):
    """Several codebooks; each speaker is a codec token."""

    @staticmethod
    def codes_of(config: Any) -> Codes:
        own, size = config.talker_config, config.code2wav_config.codebook_size
        first = min(size, own.text_config.vocab_size - _SPECIAL)
        return Codes((first, *[size] * (own.num_code_groups - 1)), own.codec_eos_token_id)

    def voices(self) -> dict[str, Any]:
        return self.model.config.talker_config.speaker_id

    @property
    def heads(self) -> list[nn.Linear]:
        return [self.model.talker.codec_head, *self.model.talker.code_predictor.lm_head]

    @property
    def listens_to(self) -> nn.Module | None:
        layers, inside = self.model.thinker.base_model.language_model.layers, self._config.accept_hidden_layer
        return layers[inside - 1] if inside < len(layers) else None

    @property
    def _config(self) -> Any:
        return self.model.config.talker_config

    def begun(self, batch: Batch, told: Tensor, layout: Layout) -> Rows:
        self._check_clips(batch)
        (rows, columns), there = prompts(batch, layout)
        ids = layout.inputs["input_ids"][rows, columns]
        heard = self._heard_of(ids, there)
        positions = _closed_up(layout.inputs["position_ids"][..., rows, columns], there & ~heard)
        start, end, pad = self._said(ids.new_tensor(self._marks))
        said, mask = self._said(batch.response["input_ids"].flatten(0, 1)), batch.response["mask"].flatten(0, 1)
        text = text_steps(said, mask, end, pad)
        opening = torch.stack([pad, pad, pad, pad, start]).expand(len(text), -1, -1)
        before = self._before(torch.cat([opening, text[:, :1]], 1))
        after = _highest(positions.masked_fill(~heard, -1)) + 1 + torch.arange(before.shape[1], device=ids.device)
        return Rows(
            torch.cat([self._prompt(ids, told[rows, columns]), before], 1),
            torch.cat([heard, heard.new_ones(before.shape[:2])], 1),
            torch.cat([positions, after.expand(*positions.shape[:-1], -1)], -1),
            text,
        )

    def _check_clips(self, batch: Batch) -> None:
        """Positions of clips are the thinker's, so the talker must count seconds as it does."""
        theirs, own = self.model.config.thinker_config.position_id_per_seconds, self._config.position_id_per_seconds
        if theirs != own and "video_grid_thw" in batch.prompt:
            raise ValueError(
                f"this checkpoint's talker counts {own} positions in a second of a video and its thinker {theirs}, which "
                "models/speech/qwen3_omni.py does not follow: leave videos out, or train the thinker alone with "
                "model.family=qwen3_omni"
            )

    @property
    def _marks(self) -> list[int]:
        """Text tokens for the start of a text, its end, and padding."""
        config = self.model.config
        return [config.tts_bos_token_id, config.tts_eos_token_id, config.tts_pad_token_id]

    def _heard_of(self, ids: Tensor, there: Tensor) -> Tensor:
        """(R, L) bool: tokens of the user's turns, and of the header with which the answer begins."""
        config = self.model.config
        place = torch.arange(ids.shape[1], device=ids.device)
        turn = torch.where((ids == config.im_start_token_id) & there, place, -1).cummax(-1).values
        role = ids.gather(-1, (turn + 1).clamp(max=ids.shape[1] - 1))
        answer = turn.amax(-1, keepdim=True)
        return there & ((role == config.user_token_id) | (place >= answer))

    def _said(self, ids: Tensor) -> Tensor:
        """(…, E) words as the talker reads them."""
        return self.model.talker.text_projection(self.model.thinker.get_input_embeddings()(ids))

    def _prompt(self, ids: Tensor, told: Tensor) -> Tensor:
        """(R, L, E) words and media. Both projections read all places, so that each gets a gradient from every batch."""
        config = self.model.config.thinker_config
        media = torch.isin(ids, ids.new_tensor([config.audio_token_id, config.image_token_id, config.video_token_id]))
        return torch.where(media[..., None], self.model.talker.hidden_projection(told), self._said(ids))

    def _before(self, beside: Tensor) -> Tensor:
        """(R, 6, E) what begins a speech, added to the text beside it."""
        own = self._config
        thinking = [own.codec_nothink_id, own.codec_think_bos_id, own.codec_think_eos_id]
        codes = torch.tensor([*thinking, self.voice, own.codec_pad_id, own.codec_bos_id], device=beside.device)
        return beside + self.model.talker.get_input_embeddings()(codes)

    def heard(self, codes: Tensor) -> Tensor:
        first, *others = codes.unbind(-1)
        tables = self._predictor.get_input_embeddings()
        return sum(
            (table(code) for table, code in zip(tables, others, strict=True)),
            start=self.model.talker.get_input_embeddings()(first),
        )

    def run(self, embeds: Tensor, **given: Any) -> Any:
        return self.model.talker.model(inputs_embeds=embeds, **given)

    @property
    def _predictor(self) -> nn.Module:
        return self.model.talker.code_predictor.model

    def _spelling(self, states: Tensor, codes: Tensor) -> Tensor:
        """(N, 1 + C, H) what the code predictor reads: the state of the place, then a step's first C tokens (N, C)."""
        tables = [self.model.talker.get_input_embeddings(), *self._predictor.get_input_embeddings()]
        return torch.stack([states, *(table(code) for table, code in zip(tables, codes.unbind(-1), strict=False))], 1)

    def within(self, states: Tensor, codes: Tensor) -> Tensor:
        # one step more, which counts for nothing: the network cannot read none, and other processes may wait for it
        more, before = (nn.functional.pad(rows, (0, 0, 0, 1)) for rows in (states, codes[:, :-1]))
        inside = self._predictor(inputs_embeds=self._spelling(more, before), use_cache=False).last_hidden_state
        return torch.cat([states[:, None], inside[:-1, 1:]], 1)

    def drawn(self, states: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        first, *others = self.heads
        columns = [draw(first(states), 0)]
        cache, read = None, self._spelling(states, columns[0][0][:, None])
        for group, (head, table) in enumerate(zip(others, self._predictor.get_input_embeddings(), strict=True), 1):
            output = self._predictor(inputs_embeds=read, past_key_values=cache, use_cache=True)
            columns.append(draw(head(output.last_hidden_state[:, -1]), group))
            cache, read = output.past_key_values, table(columns[-1][0])[:, None]
        codes, logprobs = (torch.stack(column, 1) for column in zip(*columns, strict=True))
        return codes, logprobs

    def sound(self, codes: Tensor) -> Sound:
        wave = self.model.code2wav.chunked_decode(codes.T[None])
        return Sound(wave.flatten().float().cpu().numpy(), RATE)


def _closed_up(positions: Tensor, left_out: Tensor) -> Tensor:
    """Positions (R, L) or (3, R, L) as they are without the tokens that are left out, whose room is taken away."""
    reached = (positions if positions.ndim == 2 else positions.amax(0)).cummax(-1).values
    room = reached.diff(dim=-1, prepend=torch.full_like(reached[:, :1], -1))
    return positions - (room * left_out).cumsum(-1)


def _highest(positions: Tensor) -> Tensor:
    """(R, 1) the highest position of each row."""
    highest = positions.amax(-1, keepdim=True)
    return highest if positions.ndim == 2 else highest.amax(0)
