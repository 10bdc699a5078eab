"""Memory that a rollout takes above the model: many responses over a large vocabulary."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import torch
import transformers as hf

from aa_lightning.models.families.table import family_of
from aa_lightning.models.reference import Reference
from aa_lightning.models.tiny.cache import tiny_folder
from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.types import Prompt, Sampling, text
from benchmarks import machine

PROMPTS, RESPONSES, TOKENS, VOCABULARY = 8, 8, 512, 150_000
GOAL = 1.2


def make_policy() -> AutoregressivePolicy:
    """A tiny Qwen2 with a large vocabulary, of which hardly a draw ends a response."""
    folder = str(tiny_folder("qwen2", {}))
    config = hf.AutoConfig.from_pretrained(folder)
    config.vocab_size = VOCABULARY
    family = family_of(config)
    network = TokenNetwork(hf.AutoModelForCausalLM.from_config(config), family)
    return AutoregressivePolicy(
        network, TokenEncoder(hf.AutoTokenizer.from_pretrained(folder), family), Reference("none")
    )


def measure(device: str) -> float:
    """GB that 64 responses take in this process."""
    policy = make_policy().to(device)
    asked = [Prompt(id=str(i), messages=[{"role": "user", "content": [text("How many?")]}]) for i in range(PROMPTS)]
    batch = policy.encoder.collate([policy.encoder.encode(prompt, []) for prompt in asked]).to(device)
    policy.sample(batch, 1, Sampling(max_new_tokens=2))  # what the libraries set up once
    gc.collect()
    before = machine.memory_in_use(device)
    rollout = policy.sample(batch, RESPONSES, Sampling(max_new_tokens=TOKENS))
    assert rollout.mask.sum() > 0.9 * rollout.mask.numel()
    return (machine.peak_memory(device) - before) / 1e9


def main(argv: list[str] | None = None) -> None:
    parser = machine.arguments(__doc__)
    parser.add_argument("--here", action="store_true", help="only print the figure of this process")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.here:
        print(measure(options.device))
        return
    command = [sys.executable, "-m", "benchmarks.rollout_memory", "--here", "--device", options.device]
    taken = float(
        subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout.split()[-1]
    )
    lines = [
        "# Memory of a rollout\n",
        f"{PROMPTS * RESPONSES} responses of {TOKENS} tokens, {VOCABULARY:,} words, a tiny Qwen2 in float32.\n",
        machine.described(options.device),
        f"\n**{taken:.2f} GB** above the model (the goal is {GOAL}). Its logits would be "
        f"{4e-9 * PROMPTS * RESPONSES * TOKENS * VOCABULARY:.0f} GB.\n",
    ]
    machine.write("rollout_memory", options.device, "\n".join(lines))


if __name__ == "__main__":
    main()
