#!/usr/bin/env bash
# transformers 5.23.0: in a chat template, {% generation %} inside {% set %}…{% endset %} marks the wrong tokens, in silence.
#
# The tag remembers where its text begins in what has been written so far. Inside a block that is kept in a variable that is
# the place in the block, not in the conversation: whatever is written in front of the block afterwards shifts the mask.
# Here the assistant says "fine thanks ;", and the mask marks the first three words of the conversation.
#
# Seen (tokens that return_assistant_tokens_mask marks):
#   written at once: fine thanks ;
#   kept in a variable: hello hello user
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 jinja2==3.1.6
cat > "$folder/see.py" <<'PY'
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

words = ["[UNK]", "user", "assistant", ":", "hello", "there", "fine", "thanks", ";"]
model = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
model.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]")
turns = (
    "{% for m in messages %}{{ m['role'] + ' : ' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + ' ;' }}{% endgeneration %}{% else %}{{ m['content'] + ' ;' }}{% endif %}"
    "{{ ' ' }}{% endfor %}"
)
kept = "{% set body %}" + turns + "{% endset %}{{ 'hello hello ' + body }}"
messages = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "fine thanks"}]
for name, template in (("written at once", turns), ("kept in a variable", kept)):
    made = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    marked = [token for token, mask in zip(made["input_ids"], made["assistant_masks"]) if mask]
    print(f"{name}: {tokenizer.decode(marked)}")
PY
seen=$("$folder/env/bin/python" "$folder/see.py" 2>/dev/null)
echo "$seen"
[ "$seen" = $'written at once: fine thanks ;\nkept in a variable: hello hello user' ]
