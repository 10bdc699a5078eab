"""The rows of all shipped data sets, and what they become."""

from __future__ import annotations

from . import rows, rows_media, rows_text, rows_written
from .rows import Case

# other names of the same data set
ALIASES = {
    "aa_ti2t": "align_anything_ti2t",
    "aa_ta2t": "align_anything_ta2t",
    "aa_tv2t": "align_anything_tv2t",
    "aa_t2a": "align_anything_t2a",
    "rlaifv": "rlaif_v",
    "visualgenome": "ocrvqa",
    "pickapic_ti2ti": "pickapic_v2",
    "chameleon_preference": "ti2ti_preference",
    "chameleon": "ti2ti",
    "any2any": "ti2ti",
    "spavl_ti2ti": "spa_vl",
}
_WRITTEN: dict[str, Case] = {**rows.CASES, **rows_text.CASES, **rows_media.CASES, **rows_written.CASES}
CASES: dict[str, Case] = {**_WRITTEN, **{alias: _WRITTEN[name] for alias, name in ALIASES.items()}}
# of align-anything
TEMPLATES = """
Alpaca PKUSafeRLHF Aligner O1_T2T AA_T2T Math-Zero-RL TLDR GSM8K AA_TI2T AA_TI2T_LLF RLAIFV SPA_VL SafeRLHF_V_Reward
SafeRLHF_V_Cost LLaVA_Pretrain Janus_TI2T AA_TA2T AA_TV2T DiffusionDBCanny Pickapic WavCaps AA_T2A AA_TA2T_LLF
DiffusionDB ti2ti_preference Chameleon_preference Any2Any AA_textfeedback spavl_ti2ti PICKAPIC_TI2TI GQA OK-VQA
A-OKVQA OCRVQA VisualGenome ShareGPT-4o AudioCaps LibriSpeech AudioSet ti2ti Chameleon ANYTHING_TI2TI Webvid SafeSora
SOMOS Qwen2-VL OpenAQA
"""
