"""The chat template of every tiny model: ChatML turns, media in place, tools and their calls as JSON, markers around what
the assistant says."""

from __future__ import annotations

from collections.abc import Mapping

from aa_lightning.models.tiny.tokenizers import END, START

_TEMPLATE = """\
{{%- macro part(p) -%}}
{media}
{{%- if p['type'] == 'text' -%}}{{{{ p['text'] }}}}{{%- endif -%}}
{{%- endmacro -%}}
{{%- macro parts(content) -%}}
{{%- if content is string -%}}{{{{ content }}}}
{{%- else -%}}{{%- for p in content -%}}{{{{ part(p) }}}}{{%- endfor -%}}{{%- endif -%}}
{{%- endmacro -%}}
{begin}
{{%- if tools -%}}
{{{{- '{start}system\n' -}}}}
{{%- for tool in tools -%}}{{{{- tool | tojson + '\n' -}}}}{{%- endfor -%}}
{{{{- '{end}\n' -}}}}
{{%- endif -%}}
{{%- for message in messages -%}}
{{{{- '{start}' + message['role'] + '\\n' -}}}}
{{%- if message['role'] == 'assistant' -%}}
{{%- generation -%}}{{{{- parts(message['content']) -}}}}
{{%- for call in message['tool_calls'] or [] -%}}
{{{{- '<tool_call>' + (call['function'] or call) | tojson + '</tool_call>' -}}}}
{{%- endfor -%}}
{{{{- '{end}' -}}}}{{%- endgeneration -%}}
{{%- else -%}}{{{{- parts(message['content']) + '{end}' -}}}}{{%- endif -%}}
{{{{- '\\n' -}}}}
{{%- endfor -%}}
{{%- if add_generation_prompt -%}}{{{{- '{start}assistant\\n' -}}}}{{%- endif -%}}
"""


def chat_template(media: Mapping[str, str] | None = None, begin: str = "") -> str:
    """The template's source.

    Args:
        media: what stands for a part of each medium, such as `{"image": "<image>\\n"}`.
        begin: Jinja source that opens the conversation; families that expect it write `{{ bos_token }}`.
    """
    cases = "\n".join(
        f"{{%- if p['type'] == '{medium}' -%}}{{{{ {placeholder!r} }}}}{{%- endif -%}}"
        for medium, placeholder in (media or {}).items()
    )
    return _TEMPLATE.format(media=cases, begin=begin, start=START, end=END)
