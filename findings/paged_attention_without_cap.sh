#!/usr/bin/env bash
# transformers 5.23.0, continuous batching of Gemma 2 with eager attention: the cap on attention scores is left out.
#
# Gemma 2 bounds its attention scores by attn_logit_softcapping, and its eager attention applies the bound. generate_batch serves
# the same model by a paged form of eager attention, which does not: nothing is raised, and log-probabilities are those of another
# model. Without a cap they are those of a forward pass, to the last digits.
# So responses drawn by it are not drawn from the policy that is trained on them.
#
# Seen:
#   cap None: forward and generate_batch agree to 1e-5: True
#   cap 0.5: forward and generate_batch agree to 1e-5: False, apart by more than 1e-3: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check torch==2.13.0 transformers==5.23.0 numpy==2.4.6 accelerate==1.14.0
cat > "$folder/see.py" <<'PY'
import torch
from transformers import ContinuousBatchingConfig, Gemma2Config, Gemma2ForCausalLM, GenerationConfig

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
PROMPT = list(range(3, 35))


def apart(cap):
    """The log-probability of the likeliest next token, by a forward pass and by generate_batch."""
    torch.manual_seed(0)
    config = Gemma2Config(**SIZES, attn_logit_softcapping=cap, attn_implementation="eager", initializer_range=0.3)
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        forward = model(torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)
    batching = ContinuousBatchingConfig(return_logprobs=True, page_size=32, num_blocks=8, max_batch_tokens=64)
    greedy = GenerationConfig(max_new_tokens=1, do_sample=False, eos_token_id=1, pad_token_id=0)
    served = model.generate_batch([PROMPT], generation_config=greedy, continuous_batching_config=batching, warmup=False)
    (found,) = served.values()
    return abs(found.logprobs[0] - forward[found.generated_tokens[0]].item())


print("cap None: forward and generate_batch agree to 1e-5:", apart(None) < 1e-5)
gap = apart(0.5)
print(f"cap 0.5: forward and generate_batch agree to 1e-5: {gap < 1e-5}, apart by more than 1e-3: {gap > 1e-3}")
PY
seen=$(HF_HUB_OFFLINE=1 "$folder/env/bin/python" "$folder/see.py" 2>/dev/null)
echo "$seen"
[ "$seen" = $'cap None: forward and generate_batch agree to 1e-5: True\ncap 0.5: forward and generate_batch agree to 1e-5: False, apart by more than 1e-3: True' ]
