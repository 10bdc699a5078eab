"""Models that stand in no row of the table are proved on a small batch, or refused by name."""

import copy
from dataclasses import replace

import pytest
import torch
import transformers as hf

from aa_lightning.assembly.options import options_of
from aa_lightning.configuration.compose import compose
from aa_lightning.models.families.table import family_of, is_listed
from aa_lightning.models.load import load_policy, outline
from aa_lightning.models.tiny.cache import tiny_folder
from aa_lightning.models.token.encoder import Limits, TokenEncoder
from aa_lightning.models.token.layouts import windows_of
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.trial import tried
from aa_lightning.types import Prompt, text
from tests.contract.support import MODELS, config, modality


@pytest.fixture(scope="module")
def tokenizer():
    return hf.AutoTokenizer.from_pretrained(str(tiny_folder("qwen3", {})))


def sizes(vocabulary: int, hidden: int = 32) -> dict:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    depth = {"intermediate_size": 48, "num_hidden_layers": 4, "max_position_embeddings": 2048}
    return {"vocab_size": vocabulary, "hidden_size": hidden, **heads, **depth, "pad_token_id": 0, "bos_token_id": None}


def stateful(vocabulary: int, hidden: int = 32) -> hf.JambaConfig:
    """Mamba layers beside attention."""
    experts = {"num_experts": 2, "num_experts_per_tok": 1}
    every = {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "use_mamba_kernels": False}
    return hf.JambaConfig(**sizes(vocabulary, hidden), **experts, **every)


def sinks(vocabulary: int, hidden: int = 32) -> hf.GptOssConfig:
    """Attention with a sink in each head, which no fused kernel has."""
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8, "sliding_window": 64}
    return hf.GptOssConfig(**sizes(vocabulary, hidden), **experts)


def random(settings, attention: str | None = "eager", kind=hf.AutoModelForCausalLM):
    torch.manual_seed(0)
    make = kind.from_config if kind is hf.AutoModelForCausalLM else kind._from_config
    model = make(settings, attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


# ---------------------------------------------------------------- by the configuration


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (hf.Phi4MultimodalConfig, "'phi4_multimodal' read media in a way .* has audio_config, vision_config"),
        (hf.GitConfig, "'git' read media in a way .* has vision_config"),
        (hf.MiniCPM3Config, "'minicpm3' scale their logits .dim_model_base."),
        (hf.FalconH1Config, "'falcon_h1' scale their logits .lm_head_multiplier."),
    ],
)
def test_a_configuration_that_speaks_of_media_or_scales_is_refused_by_name(kind, message):
    with pytest.raises(ValueError, match=message):
        family_of(kind())


@pytest.mark.parametrize(
    "kind",
    [
        *(hf.MambaConfig, hf.Mamba2Config, hf.FalconMambaConfig, hf.JambaConfig, hf.BambaConfig, hf.NemotronHConfig),
        *(hf.ZambaConfig, hf.Zamba2Config, hf.Lfm2Config, hf.RecurrentGemmaConfig, hf.Qwen3NextConfig),
    ],
    ids=lambda kind: kind.model_type,
)
def test_rows_of_models_with_a_state_are_not_shared(kind):
    assert windows_of(kind()) is None


def test_a_scale_that_is_not_set_is_none():
    assert family_of(hf.MptConfig()).name == "mpt"
    with pytest.raises(ValueError, match="'mpt' scale their logits .logit_scale."):
        family_of(hf.MptConfig(logit_scale=0.5))


def test_a_listed_class_with_an_unlisted_language_model_is_not_listed():
    found = hf.AutoConfig.from_pretrained(str(tiny_folder("internvl", {})))
    found.text_config = sinks(99)
    assert not is_listed(found)


@pytest.mark.parametrize("model", [model for model in MODELS if modality(model) != "t2i"])
def test_families_of_the_table_are_taken_at_their_word(model):
    assert is_listed(outline(options_of(config(model, "dpo"), "model")).config)


# ---------------------------------------------------------------- by a small batch


def test_what_reads_as_it_should_keeps_its_family(tokenizer):
    for settings in (hf.Olmo2Config(**sizes(len(tokenizer))), stateful(len(tokenizer))):
        family = family_of(settings)
        assert tried(random(settings), tokenizer, family) is family


def test_a_model_whose_padded_rows_are_wrong_is_refused(tokenizer):
    """XLNet reads in both directions and a mask of its own kind."""
    settings = hf.XLNetConfig(vocab_size=len(tokenizer), d_model=32, n_layer=2, n_head=4, d_inner=32)
    message = r"type 'xlnet' are in no row .* in a padded batch its log-probabilities are 0\.\d+ nats off"
    with pytest.raises(ValueError, match=message):
        tried(random(settings), tokenizer, family_of(settings))


def test_what_a_model_cannot_read_is_said_in_its_own_words(tokenizer, capsys):
    """Bloom's mask is one of tokens, so it reads plain rows and no shared ones."""
    settings = hf.BloomConfig(vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4)
    sharing = replace(family_of(settings), shares_prefix=True)
    assert not tried(random(settings), tokenizer, sharing).shares_prefix
    assert "row of its own, since in shared rows it cannot be read (ValueError: " in capsys.readouterr().out


def test_a_model_that_cannot_read_text_alone_is_refused_with_its_own_words(tokenizer):
    """T5 writes from what its encoder has read."""
    sized = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    settings = hf.T5Config(vocab_size=len(tokenizer), **sized)
    message = r"type 't5' .* in a padded batch it cannot be read \(ValueError: You must specify .*docs/models.md"
    with pytest.raises(ValueError, match=message):
        tried(random(settings, kind=hf.T5ForConditionalGeneration), tokenizer, family_of(settings))


def test_a_model_whose_shared_rows_are_wrong_gets_plain_ones_and_says_so(tokenizer, capsys):
    """RWKV carries a state that its configuration does not speak of."""
    settings = hf.RwkvConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2)
    sharing = replace(family_of(settings), shares_prefix=True)
    model = random(settings)
    assert not tried(model, tokenizer, sharing).shares_prefix
    assert (
        "'rwkv' are in no row of models/families/table.py: each response gets a row of its own, since"
        in capsys.readouterr().out
    )
    assert tried(model, tokenizer, sharing, "never").shares_prefix  # nothing was to be shared
    with pytest.raises(
        ValueError, match=r"where responses share a row its .* nats off .*: type model.prefix_sharing=never"
    ):
        tried(model, tokenizer, sharing, "always")


@pytest.mark.parametrize("language", [sinks, stateful])
def test_pictures_before_any_language_model_are_read_alike_in_plain_and_shared_rows(language):
    """Masks are those of the language model's attention, whatever the tower has; a state keeps rows apart."""
    folder = str(tiny_folder("internvl", {}))
    settings, processor = hf.AutoConfig.from_pretrained(folder), hf.AutoProcessor.from_pretrained(folder)
    settings.text_config = language(settings.text_config.vocab_size, settings.text_config.hidden_size)
    model = random(settings, None, hf.InternVLForConditionalGeneration)
    family = tried(model, processor, family_of(settings))
    encoder = TokenEncoder(processor, family)
    asked = Prompt(id="0", messages=[{"role": "user", "content": [text("How many?")]}])
    batch = encoder.collate([encoder.encode(asked, [[text("Two of them.")], [text("Three.")]])])
    with torch.no_grad():
        plain, shared = (TokenNetwork(model, family, layout)(batch) for layout in ("never", "always"))
    assert torch.allclose(plain.terms, shared.terms, atol=1e-5)
    shape = TokenNetwork(model, family, "always").hidden(batch)[0].shape
    assert shape[0] == (1 if language is sinks else 2)


def test_an_attention_that_a_model_lacks_is_answered_with_one_that_it_has(tmp_path, tokenizer):
    settings = hf.MambaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=8)
    random(settings).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    options = copy.copy(options_of(compose(["modality=t2t", "model=tiny_qwen3", "init=null"]), "model"))
    options.path, options.family = str(tmp_path), "mamba"
    with pytest.raises(ValueError, match="model.attention=sdpa is not there for .*: type model.attention=eager"):
        load_policy(options, Limits(), reference=False)
    options.attention = "eager"
    assert not load_policy(options, Limits(), reference=False).network.family.shares_prefix
