"""What the tests of models that write pictures share."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from aa_lightning.data.shapes import Shapes, check_picture
from aa_lightning.types import Prompt

HELD_OUT = Shapes(modality="t2i", split="val", size=40, image_size=24, max_shapes=1, kinds=["colour"])


def asked(*parts) -> Prompt:
    return Prompt(id="asked", messages=[{"role": "user", "content": list(parts)}])


def picture(index: int) -> dict:
    return {"type": "image", "image": HELD_OUT[index]["chosen"]()}


def colours_that_survive(policy) -> int:
    """How many of forty pictures show their colour after they were made tokens and pixels again."""
    right = 0
    for index in range(40):
        tokens = policy.pictures.tokens(policy.encoder.pixels(picture(index)["image"]))
        again = policy.encoder.picture(policy.pictures.pixels(tokens, 3, 3))
        right += check_picture(HELD_OUT[index]["answer"].split()[1], again)
    return right


@contextmanager
def wishing_for_a_picture(policy) -> Iterator[None]:
    """Every answer begins with a picture."""
    head = policy.network.model.get_output_embeddings()
    wish = torch.zeros(head.out_features)
    wish[policy.pictures.spelling.begin] = 40.0
    hook = head.register_forward_hook(lambda module, given, logits: logits + wish)
    yield
    hook.remove()
