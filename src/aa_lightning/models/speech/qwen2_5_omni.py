"""The talker of Qwen2.5-Omni (2503.20215 section 2.4): one codec token a step, beside the thinker's states of the text.

    prompt        | voice | text 1      | text 2  | …  (then the end of the text, then padding)
                  | pad   | codec start | code 1  | …

where all text is the thinker's state plus the token's embedding, and the two lines are added.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.media.audio import Sound
from aa_lightning.models.speech.talker import RATE, Codes, Draw, Rows, Talker, prompts, text_steps
from aa_lightning.models.token.layouts import Layout
from aa_lightning.system.random_state import fixed_draws
from aa_lightning.types import Batch

VOICES = "spk_dict.pt"  # beside a checkpoint, where the library looks for its speakers


class Qwen25Talker(Talker):
    """One codebook; each speaker is a text token, and what the decoder is conditioned on."""

    @staticmethod
    def codes_of(config: Any) -> Codes:
        own = config.talker_config
        special = [own.tts_codec_start_token_id, own.tts_codec_end_token_id]
        special += [own.tts_codec_pad_token_id, own.tts_codec_mask_token_id]
        return Codes((min(*special, config.token2wav_config.dit_config.num_embeds),), own.tts_codec_end_token_id)

    def voices(self) -> dict[str, Any]:
        return self.model.speaker_map

    @property
    def heads(self) -> list[nn.Linear]:
        return [self.model.talker.codec_head]

    def begun(self, batch: Batch, told: Tensor, layout: Layout) -> Rows:
        own, words = self.model.talker, self.model.thinker.get_input_embeddings()
        mixed = told + self._embedded(layout.inputs["input_ids"])
        (rows, columns), there = prompts(batch, layout)
        lengths = there.sum(-1)
        steps, mask = mixed[layout.rows, layout.own].flatten(0, 1), batch.response["mask"].flatten(0, 1)
        end, pad, voice = words(lengths.new_tensor([own.text_eos_token, own.text_pad_token, self.voice["bos_token"]]))
        text = text_steps(steps, mask, end, pad)
        start = own.get_input_embeddings()(lengths.new_tensor([own.codec_pad_token, own.codec_bos_token]))
        before = start + torch.stack([voice.expand(len(text), -1), text[:, 0]], 1)
        positions = layout.inputs["position_ids"][..., rows, columns]
        last = positions.gather(-1, (lengths - 1)[:, None].expand(*positions.shape[:-1], 1))
        return Rows(
            torch.cat([mixed[rows, columns], before], 1),
            torch.cat([there, there.new_ones(len(there), 2)], 1),
            torch.cat([positions, last + 1, last + 2], -1),
            text,
        )

    def _embedded(self, ids: Tensor) -> Tensor:
        """Embeddings of tokens, zero for those that stand for media."""
        thinker, config = self.model.thinker, self.model.config.thinker_config
        media = (config.audio_token_index, config.image_token_index, config.video_token_index)
        return thinker.get_input_embeddings()(ids).masked_fill(torch.isin(ids, ids.new_tensor(media))[..., None], 0)

    def heard(self, codes: Tensor) -> Tensor:
        return self.model.talker.get_input_embeddings()(codes[..., 0])

    def run(self, embeds: Tensor, **given: Any) -> Any:
        own = self.model.talker
        return own.model(inputs_embeds=own.thinker_to_talker_proj(embeds), **given)

    def within(self, states: Tensor, codes: Tensor) -> Tensor:
        return states[:, None]

    def drawn(self, states: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        code, logprob = draw(self.heads[0](states), 0)
        return code[:, None], logprob[:, None]

    @fixed_draws(0)  # its decoder begins with noise: what codes sound like is theirs alone
    def sound(self, codes: Tensor) -> Sound:
        wave = self.model.token2wav(
            codes[None, :, 0],
            conditioning=self.voice["cond"].to(codes.device).float(),
            reference_mel=self.voice["ref_mel"].to(codes.device).float(),
        )
        return Sound(wave.flatten().float().cpu().numpy(), RATE)

    def keep(self, folder: Path) -> None:
        torch.save(self.model.speaker_map, folder / VOICES)
