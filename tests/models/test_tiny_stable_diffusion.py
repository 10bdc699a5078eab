"""The tiny Stable Diffusion that is built offline."""

import pytest
import torch

from aa_lightning.models.tiny import stable_diffusion


def test_words_of_shapes_are_one_token_each_and_others_are_spelled():
    tokenizer = stable_diffusion.clip_tokenizer(32)
    words = ["a", "red", "circle", ",", "two", "yellow", "squares", "and", "an", "orange", "star"]
    assert tokenizer.tokenize(" ".join(words)) == [f"{word}</w>" for word in words]
    assert "".join(tokenizer.tokenize("xylophone")).removesuffix("</w>") == "xylophone"
    assert len(tokenizer.tokenize("xylophone")) > 1


@pytest.mark.slow
def test_the_vae_of_the_tiny_build_keeps_pictures_recognisable():
    sizes = stable_diffusion.StableDiffusionSizes()
    torch.manual_seed(0)
    (pipeline,) = stable_diffusion.stable_diffusion(sizes)
    seen = stable_diffusion.pictures("val", 64, sizes.image_size)
    with torch.no_grad():
        shown = pipeline.vae.decode(pipeline.vae.encode(seen).latent_dist.mode()).sample
    signal_to_noise = 10 * torch.log10(4 / (shown - seen).square().mean((1, 2, 3)))
    assert signal_to_noise.mean() > 26  # an empty background alone gives 18
