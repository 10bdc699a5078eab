"""The turns of Chameleon, whose published checkpoints bring no chat template (2405.09818)."""

from __future__ import annotations

from typing import ClassVar

from aa_lightning.models.families.family import Family


class Chameleon(Family):
    """The family whose turns are closed by a separator; what follows it is the other's."""

    template = """\
{%- for message in messages -%}
{%- for part in message['content'] -%}
{{- part['text'] if part['type'] == 'text' else '<image>' -}}
{%- endfor -%}
{{- '<reserved08706>' -}}
{%- endfor -%}
"""
    always: ClassVar = {"return_for_text_completion": True}  # or every text ends in a separator
