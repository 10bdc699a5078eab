"""Long prompts: nothing that is made for them grows with the square of their length."""

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aa_lightning.types import Prompt, text
from tests.contract.support import make


class Largest(TorchDispatchMode):
    """The most elements of a tensor that an operation made."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [
            leaf.untyped_storage().nbytes() // leaf.itemsize for leaf in tree_leaves(made) if torch.is_tensor(leaf)
        ]
        self.elements = max([self.elements, *sizes])
        return made


def long_batch(policy, pictures: int, words: int):
    """One prompt and two answers of eight tokens."""
    parts = [{"type": "image", "image": Image.new("RGB", (64, 64), (20 * i, 0, 0))} for i in range(pictures)]
    prompt = Prompt(id="0", messages=[{"role": "user", "content": [*parts, text("red " * words)]}])
    encoded = policy.encoder.encode(prompt, [])
    encoded.responses = [torch.arange(20, 28), torch.arange(30, 38)]
    return policy.encoder.collate([encoded])


@pytest.mark.parametrize(("model", "pictures", "words"), [("tiny_qwen2", 0, 8192), ("tiny_llava", 16, 2500)])
def test_a_step_on_a_long_prompt_makes_nothing_of_its_square(model, pictures, words):
    _, policy, _ = make(model, "sft", "loader.max_prompt_tokens=20000")
    batch = long_batch(policy, pictures, words)
    length = batch.prompt["input_ids"].shape[1]
    assert length >= words
    with Largest() as largest:
        policy.log_likelihood(policy.prepare(batch)).total.sum().backward()
    assert largest.elements < length**2 / 8
