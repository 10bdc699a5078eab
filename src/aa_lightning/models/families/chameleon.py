"""The turns of Chameleon, whose published checkpoints bring no chat template (2405.09818)."""

# each turn is closed by the separator, and what follows it is the other's
TURNS = """\
{%- for message in messages -%}
{%- for part in message['content'] -%}
{{- part['text'] if part['type'] == 'text' else '<image>' -}}
{%- endfor -%}
{{- '<reserved08706>' -}}
{%- endfor -%}
"""
