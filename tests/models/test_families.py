"""The table of families: parameter groups, windows, capped and scaled logits."""

import pytest
import transformers as hf

from aa_lightning.assembly.options import options_of
from aa_lightning.models.families.table import FAMILIES, family_of
from aa_lightning.models.load import outline
from aa_lightning.models.token.layouts import windows_of
from aa_lightning.models.token.logprobs import logit_cap
from tests.contract.support import MODELS, config, modality

TOKENS = [model for model in MODELS if modality(model) != "t2i"]


@pytest.mark.parametrize("model", TOKENS)
def test_every_parameter_belongs_to_exactly_one_freeze_group(model):
    network = outline(options_of(config(model, "dpo"), "model"))
    family = FAMILIES[model.removeprefix("tiny_")]
    frozen = ("vqmodel.", "token2wav.", "code2wav.")  # what makes media tokens, and tokens media, never trains
    trainable = [name for name, _ in network.named_parameters() if not any(part in name for part in frozen)]
    for name in trainable:
        owners = [group for group in family.groups if family.parameters(group).search(name)]
        assert len(owners) == 1, (name, owners)


def test_layers_that_look_back_a_little_are_known_by_their_configuration():
    assert windows_of(hf.LlamaConfig()) == {"": None}
    assert windows_of(hf.Qwen2Config()) == {"": None}
    assert windows_of(hf.MistralConfig(sliding_window=4096)) == {"": 4096}
    assert windows_of(hf.MistralConfig(sliding_window=None)) == {"": None}
    assert windows_of(hf.Qwen3MoeConfig(use_sliding_window=False, sliding_window=4096)) == {"": None}
    assert windows_of(hf.Gemma2Config()) == {"full_attention": None, "sliding_attention": 4096}
    assert windows_of(hf.Gemma3Config()) == {"full_attention": None, "sliding_attention": 4096}


def test_rows_with_layers_that_carry_a_state_are_not_shared():
    assert windows_of(hf.Qwen3_5TextConfig()) is None


def test_only_gemma_2_caps_its_logits():
    assert logit_cap(hf.Gemma2Config()) == 30.0
    assert logit_cap(hf.Gemma3Config()) is None
    assert logit_cap(hf.LlamaConfig()) is None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (hf.GraniteConfig, "'granite' scale their logits .logits_scaling."),
        (hf.CohereConfig, "'cohere' scale their logits .logit_scale."),
        (hf.PaliGemmaConfig, "'paligemma' read media in a way that is not in models/families/table.py"),
    ],
)
def test_models_whose_numbers_would_be_wrong_are_refused_by_name(kind, message):
    with pytest.raises(ValueError, match=message):
        family_of(kind())


def test_an_unlisted_text_model_is_served_without_shared_rows():
    family = family_of(hf.Olmo2Config())
    assert (family.name, family.shares_prefix, family.media) == ("olmo2", False, ())
