"""Every tiny build is the same from the same seed, and another from another."""

import pytest
import torch

from aa_lightning.models.tiny.families import FAMILIES, build

SHORT = {  # what is trained while building
    "chameleon": {"image_size": 16, "codes": 16},
    "emu3": {"vq_steps": 1, "codes": 16},
    "janus": {"image_size": 16, "codes": 16},
    "stable_diffusion": {"vae_steps": 2, "unet_channels": (16, 16)},
}
SLOW = ("emu3",)


@pytest.mark.parametrize("family", [pytest.param(f, marks=[pytest.mark.slow] * (f in SLOW)) for f in FAMILIES])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_weights(family, tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        build(family, tmp_path / name, seed, **SHORT.get(family, {}))
    one, same, other = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "one", tmp_path / "same", tmp_path / "other")
    )
    assert one == same
    weights = [path for path in one if path.suffix == ".safetensors"]
    assert weights and all(one[path] != other[path] for path in weights)


def test_a_build_leaves_the_random_state_of_the_caller_alone(tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build("llama", tmp_path)
    assert torch.equal(torch.rand(3), expected)
