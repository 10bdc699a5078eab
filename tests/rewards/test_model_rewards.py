"""Rewards of models: of runs, of transformers, of texts and media, on tiny ones with random weights."""

import numpy as np
import pytest
import torch
import transformers as hf
from omegaconf import OmegaConf
from PIL import Image

from aa_lightning.assembly.options import options_of
from aa_lightning.assembly.rewards import build_rewards
from aa_lightning.configuration.folders import conf_dir
from aa_lightning.media.audio import Sound
from aa_lightning.models.load import load_scorer
from aa_lightning.models.tiny.stable_diffusion import clip_tokenizer
from aa_lightning.models.tiny.tokenizers import plain_tokenizer
from aa_lightning.models.token.encoder import Limits
from aa_lightning.types import Prompt, text
from tests.contract.support import composed

COLOURS = ("red", "green", "blue")


def built(name, **keys):
    files = [
        *(conf_dir() / f"reward/options/{common}.yaml" for common in ("common", "model")),
        conf_dir() / f"reward/{name}.yaml",
    ]
    common, more, file = map(OmegaConf.load, files)
    return build_rewards(OmegaConf.create({"reward": {name: OmegaConf.merge(common, more, file[name], keys)}}))


def asked(count, *media):
    return [
        Prompt(id=f"row-{n}", messages=[{"role": "user", "content": [*media, text(f"What is {COLOURS[n]}?")]}])
        for n in range(count)
    ]


def said(*groups):
    return [[[text(one)] for one in group] for group in groups]


SAID = said(["red", "a red circle and a blue square", "no"], ["green", "blue", "yellow green"], ["a", "b", "c"])


# ---------------------------------------------------------------- of runs


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports of reward models by (modality, heads, words), each with the model that it was made of."""
    made = {}

    def export(modality, heads=1, speaks=0):
        if (modality, heads, speaks) not in made:
            model = {"t2t": "tiny_qwen3", "ti2t": "tiny_llava"}[modality]
            cfg = composed(f"modality={modality}", f"model={model}", "algo=reward_model", "init=null")
            scorer = load_scorer(options_of(cfg, "model"), Limits(), heads=heads, speaks=speaks).eval()
            torch.nn.init.normal_(scorer.network.head.weight)
            run = tmp_path_factory.mktemp("run")
            (run / "export").mkdir()
            scorer.save(run / "export")
            made[modality, heads, speaks] = run, scorer
        return made[modality, heads, speaks]

    return export


@torch.no_grad()
def criteria(scorer, prompts, responses):
    """(P, K, heads), one prompt after the other."""
    encoded = [scorer.encoder.encode(prompt, group) for prompt, group in zip(prompts, responses, strict=True)]
    batches = [scorer.encoder.collate([one]) for one in encoded]
    return torch.cat([scorer.score_criteria(scorer.criticised(one) if scorer.speaks else one) for one in batches])


def test_a_reward_model_scores_as_it_did_in_its_run(exported):
    run, scorer = exported("t2t")
    found = built("model", path=str(run), batch_size=2)(asked(3), SAID)["model"]
    assert found.shape == (3, 3)
    assert torch.allclose(found, criteria(scorer, asked(3), SAID)[..., 0], atol=1e-5)
    assert len(found.unique()) == 9
    assert torch.equal(found, built("model", path=str(run / "export"), batch_size=2)(asked(3), SAID)["model"])


def test_heads_have_weights(exported):
    run, scorer = exported("t2t", heads=3)
    expected = criteria(scorer, asked(1), SAID[:1])
    mean = built("model", path=str(run))(asked(1), SAID[:1])["model"]
    assert torch.allclose(mean, expected.mean(-1), atol=1e-5)
    first = built("model", path=str(run), heads=[2, 0, -1])(asked(1), SAID[:1])["model"]
    assert torch.allclose(first, 2 * expected[..., 0] - expected[..., 2], atol=1e-5)
    with pytest.raises(
        ValueError, match=r"2 weights, and the reward model .* has 3 heads: type reward.model.heads=\[1,1,1\]"
    ):
        built("model", path=str(run), heads=[1, 2])


def test_a_model_that_criticises_speaks_as_many_words_as_it_was_trained_for(exported):
    run, scorer = exported("t2t", speaks=3)
    found = built("model", path=str(run))(asked(2), SAID[:2])["model"]
    assert torch.allclose(found, criteria(scorer, asked(2), SAID[:2])[..., 0], atol=1e-5)


def test_a_reward_model_is_told_facts_that_the_policy_is_not(exported):
    """It reads the question, a line break and the facts, as where they stand in the question itself."""
    run, _ = exported("t2t")
    plain, told = asked(2), asked(2)
    for prompt, other in zip(plain, told, strict=True):
        prompt.keep["facts"] = "The square is red."
        other.messages[-1]["content"][-1]["text"] += "\nThe square is red."
    rewards = built("model", path=str(run), facts="facts")
    found, without = rewards(plain, SAID[:2])["model"], built("model", path=str(run))(plain, SAID[:2])["model"]
    assert torch.allclose(found, built("model", path=str(run))(told, SAID[:2])["model"], atol=1e-5)
    assert (found - without).abs().min() > 1e-4
    with pytest.raises(ValueError, match=r"it keeps nothing: type \+data.template.keep.facts=<column>"):
        rewards(asked(1), SAID[:1])


def test_a_reward_model_sees_the_pictures_of_prompts(exported):
    run, scorer = exported("ti2t")
    rewards = built("model", path=str(run))
    black, white = ({"type": "image", "image": Image.new("RGB", (48, 48), colour)} for colour in ("black", "white"))
    found = [rewards(asked(2, picture), SAID[:2])["model"] for picture in (black, white)]
    assert torch.allclose(found[0], criteria(scorer, asked(2, black), SAID[:2])[..., 0], atol=1e-5)
    assert (found[0] - found[1]).abs().min() > 1e-6


@torch.no_grad()
def test_steps_of_a_process_reward_model_are_lines(exported):
    """σ of the scores at the end of each line: their minimum, mean, product and last."""
    run, scorer = exported("t2t")
    steps = [text("red is\n"), text("blue\n"), text("green")]
    encoded = scorer.encoder.encode(asked(1)[0], [steps])
    ends = torch.tensor([[scorer.encoder.part_ends(asked(1)[0], steps)]])
    right = scorer.score_steps(scorer.encoder.collate([encoded]), ends).sigmoid()[0, 0]
    assert len(right) == 3
    expected = {"min": right.min(), "mean": right.mean(), "product": right.prod(), "last": right[-1]}
    for name, value in expected.items():
        found = built("model", path=str(run), steps=name)(asked(1), said(["red is\nblue\ngreen", "yellow"]))["model"]
        assert found[0, 0].item() == pytest.approx(value.item(), abs=1e-5)
        assert 0 < found[0, 1] < 1


def test_what_holds_no_reward_model_is_refused_with_the_key(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"reward.model cannot be made: reward.model.path=/nowhere/at/all is a folder that does not exist",
    ):
        built("model", path="/nowhere/at/all")
    from aa_lightning.models.tiny.cache import tiny_folder

    with pytest.raises(ValueError, match="no head of scores: name the run folder"):
        built("model", path=str(tiny_folder("qwen3", {})))


# ---------------------------------------------------------------- of transformers


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("classifier"), plain_tokenizer()
    torch.manual_seed(0)
    config = hf.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        id2label={0: "kind", 1: "rude"},
        initializer_range=0.5,
    )
    model = hf.LlamaForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


@torch.no_grad()
def test_a_classifier_gives_the_score_of_its_label(classifier):
    folder, model, tokenizer = classifier
    logits = torch.stack(
        [model(**tokenizer("What is red?", one[0]["text"], return_tensors="pt")).logits[0] for one in SAID[0]]
    )
    for label, place in (("rude", 1), ("kind", 0), (1, 1)):
        found = built("classifier", path=str(folder), label=label, batch_size=2)(asked(1), SAID[:1])["classifier"]
        assert torch.allclose(found[0], logits[:, place], atol=1e-5)
    likely = built("classifier", path=str(folder), label="rude", score="probability")(asked(1), SAID[:1])["classifier"]
    assert torch.allclose(likely[0], logits.softmax(-1)[:, 1], atol=1e-5)


@torch.no_grad()
def test_it_may_read_the_response_alone_or_a_conversation(classifier, tmp_path):
    folder, model, tokenizer = classifier
    alone = built("classifier", path=str(folder), label=0, reads="response")(asked(1), SAID[:1])["classifier"]
    assert alone[0, 0].item() == pytest.approx(
        model(**tokenizer("red", return_tensors="pt")).logits[0, 0].item(), abs=1e-5
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tokenizer.chat_template = None
    read = built("classifier", path=str(tmp_path), label=0)(asked(1), SAID[:1])["classifier"]
    whole = tokenizer("user: What is red?\nassistant: red\n", add_special_tokens=False, return_tensors="pt")
    assert read[0, 0].item() == pytest.approx(model(**whole).logits[0, 0].item(), abs=1e-5)


def test_a_label_that_there_is_not_is_refused_with_those_that_there_are(classifier):
    with pytest.raises(ValueError, match=r"has the labels kind, rude, and the label polite is none of them"):
        built("classifier", path=str(classifier[0]), label="polite")
    with pytest.raises(ValueError, match="type reward.classifier.label=kind"):
        built("classifier", path=str(classifier[0]))


# ---------------------------------------------------------------- of texts and media


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("clip"), clip_tokenizer(16)
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = hf.CLIPConfig(
        text_config={
            **small,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    model = hf.CLIPModel(config).eval()
    size = {"height": 32, "width": 32}
    processor = hf.CLIPProcessor(hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size), tokenizer)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, model, processor


def picture(colour):
    return {"type": "image", "image": Image.new("RGB", (40, 40), colour)}


@torch.no_grad()
def test_pictures_are_compared_with_what_was_asked_for(clip):
    """The cosine of CLIP is its logit over its temperature."""
    folder, model, processor = clip
    drawn = [[[picture("red")], [picture("blue")]], [[picture("green")], [text("nothing drawn")]]]
    inputs = processor(
        text=["What is red?", "What is green?"],
        images=[Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green")],
        padding=True,
        return_tensors="pt",
    )
    logits = model(**inputs).logits_per_text
    found = built("clip", path=str(folder), batch_size=2)(asked(2), drawn)["clip"]
    temperature = model.logit_scale.exp()
    assert torch.allclose(found[0], logits[0, :2] / temperature, atol=1e-5)
    assert found[1].tolist() == pytest.approx([(logits[1, 2] / temperature).item(), -1], abs=1e-5)
    scaled = built("clip", path=str(folder), scale="model")(asked(2), drawn)["clip"]
    assert torch.allclose(scaled[0], logits[0, :2], atol=1e-4)


@torch.no_grad()
def test_captions_are_compared_with_the_picture_that_the_prompt_shows(clip):
    folder, model, processor = clip
    inputs = processor(
        text=["a red circle", "no"], images=Image.new("RGB", (40, 40), "red"), padding=True, return_tensors="pt"
    )
    expected = model(**inputs).logits_per_text[:, 0] / model.logit_scale.exp()
    found = built("clip", path=str(folder))(asked(1, picture("red")), said(["a red circle", "no"]))["clip"]
    assert torch.allclose(found[0], expected, atol=1e-5)


def test_texts_longer_than_it_reads_are_cut(clip):
    found = built("clip", path=str(clip[0]))(asked(1, picture("red")), said(["red " * 100, "red " * 200]))["clip"]
    assert found[0, 0] == pytest.approx(found[0, 1].item(), abs=1e-6)


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("clap"), plain_tokenizer()
    torch.manual_seed(0)
    config = hf.ClapConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 34,
            "pad_token_id": 1,
        },
        audio_config={
            "patch_embeds_hidden_size": 16,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "num_hidden_layers": 2,
            "spec_size": 64,
            "window_size": 4,
            "num_mel_bins": 16,
            "hidden_size": 32,
        },
        projection_dim=8,
    )
    model = hf.ClapModel(config).eval()
    extractor = hf.ClapFeatureExtractor(feature_size=16, sampling_rate=16_000, max_length_s=1, truncation="rand_trunc")
    model.save_pretrained(folder)
    hf.ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


def tone(hertz, rate=16_000):
    wave = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    return {"type": "audio", "audio": Sound(wave, rate)}


def test_sounds_are_compared_with_what_was_asked_for_at_the_rate_of_the_model(clap):
    rewards = built("clap", path=str(clap))
    low, other = rewards(asked(1), [[[tone(220)], [tone(2000)]]])["clap"][0]
    assert -1 <= low <= 1
    assert abs(low - other) > 1e-6
    finer = rewards(asked(1), [[[tone(220, rate=48_000)]]])["clap"][0, 0]
    assert finer.item() == pytest.approx(low.item(), abs=0.02)
    assert rewards(asked(1), [[[text("nothing played")]]])["clap"].tolist() == [[-1]]


def test_a_model_of_another_medium_is_refused(clip):
    with pytest.raises(ValueError, match="which embeds no audio beside texts: name a model such as laion/clap"):
        built("clap", path=str(clip[0]))
