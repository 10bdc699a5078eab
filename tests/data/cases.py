"""The rows of all shipped data sets, and what they become."""

from __future__ import annotations

from . import rows, rows_media, rows_text, rows_written
from .rows import Case

# rows that need no file of their own: the data set that reads them, and what is typed with it
READ_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ["trl_preference", "trl_preference_text", "trl_preference_implicit", "trl_prompt_completion", "trl_messages"],
        ("local",),
    ),
    **dict.fromkeys(["trl_unpaired", "alpaca_preference", "sharegpt_kto", "sharegpt_preference"], ("local",)),
    **dict.fromkeys(["swift_kto", "swift_preference", "dpo_en_zh", "coig_p", "janus_ti2t_instruct"], ("local",)),
    "qwen2_vl": ("better_worse", "template.system=You are a helpful assistant."),
    "qwen2_vl_instruct": (
        "local",
        "template.kind=demonstration",
        "template.system=You are a helpful assistant.",
        "template.prompt=[{video: video_path}, {text: prompt}]",
        "template.completion=output",
    ),
    "aa_ta2t_llf": ("refinements", "template.system=You are a helpful assistant."),
    "diffusiondbcanny": ("diffusiondb",),
    "janus_t2i": ("diffusiondb",),
    "safesora_safety": ("safesora", "template.preferred.column=harmlessness"),
    "pku_safe_rlhf_safety": ("pku_safe_rlhf", "template.preferred.column=safer_response_id"),
    "sharegpt_4o": ("sharegpt",),
}
CASES: dict[str, Case] = {**rows.CASES, **rows_text.CASES, **rows_media.CASES, **rows_written.CASES}
# of align-anything
TEMPLATES = """
Alpaca PKUSafeRLHF Aligner O1_T2T AA_T2T Math-Zero-RL TLDR GSM8K AA_TI2T AA_TI2T_LLF RLAIFV SPA_VL SafeRLHF_V_Reward
SafeRLHF_V_Cost LLaVA_Pretrain Janus_TI2T AA_TA2T AA_TV2T DiffusionDBCanny Pickapic WavCaps AA_T2A AA_TA2T_LLF
DiffusionDB ti2ti_preference Chameleon_preference Any2Any AA_textfeedback spavl_ti2ti PICKAPIC_TI2TI GQA OK-VQA
A-OKVQA OCRVQA VisualGenome ShareGPT-4o AudioCaps LibriSpeech AudioSet ti2ti Chameleon ANYTHING_TI2TI Webvid SafeSora
SOMOS Qwen2-VL OpenAQA
"""
