"""Reward models as classifiers of the library: where the last token stands, what pads, and what cannot be one."""

import copy
import json

import pytest
import torch
import transformers as hf

from aa_lightning.assembly.options import options_of
from aa_lightning.models.load import load_policy, load_scorer
from aa_lightning.models.reward import classifier
from aa_lightning.models.token.conversation import ending_at, padding_token
from aa_lightning.models.token.encoder import Limits, TokenEncoder
from aa_lightning.training.export import export
from aa_lightning.types import Prompt, text
from tests.contract.support import composed

CHAT = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "Two of them."}]


def options(model: str = "tiny_qwen3", modality: str = "t2t"):
    return options_of(composed(f"modality={modality}", f"model={model}", "algo=reward_model", "init=null"), "model")


def saved(folder, model: str = "tiny_qwen3", modality: str = "t2t", **scores):
    """A reward model and what it says of its export."""
    scorer = load_scorer(options(model, modality), Limits(), **scores).eval()
    return scorer, scorer.save(folder)


def at(folder, model: str = "tiny_qwen3"):
    elsewhere = copy.copy(options(model))
    elsewhere.path = str(folder)
    return elsewhere


@torch.no_grad()
def reward(scorer) -> torch.Tensor:
    asked = Prompt(id="0", messages=[{"role": "user", "content": [text("Which?")]}])
    return scorer.score_criteria(scorer.encoder.collate([scorer.encoder.encode(asked, [[text("Two of them.")]])]))[0, 0]


# ---------------------------------------------------------------- layouts of exports


def test_several_scores_are_the_labels_of_a_classifier(tmp_path):
    """logits = the numbers of all heads, for the tokens that the saved template makes of the conversation."""
    scorer, remark = saved(tmp_path, heads=3)
    assert remark is None
    model = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert (type(model).__name__, model.config.num_labels) == ("Qwen3ForSequenceClassification", 3)
    rendered = hf.AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        CHAT, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        assert torch.allclose(model(**rendered).logits[0], reward(scorer), atol=1e-6)


def test_a_reward_model_starts_from_its_classifier_in_one_file_or_in_shards(tmp_path):
    scorer, _ = saved(tmp_path / "one", heads=2)
    whole = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "one")
    whole.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    hf.AutoTokenizer.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    for folder in ("one", "shards"):
        again = load_scorer(at(tmp_path / folder), Limits(), heads=2).eval()
        assert torch.allclose(reward(again), reward(scorer), atol=1e-6)


def test_a_reward_model_takes_the_weights_of_its_classifier_back(tmp_path):
    scorer, _ = saved(tmp_path, "tiny_llama")
    other = load_scorer(options("tiny_llama"), Limits()).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert (reward(other) - reward(scorer)).abs().max() > 1e-3
    other.restore(tmp_path)
    assert torch.equal(reward(other), reward(scorer))


def test_a_reward_model_starts_from_a_language_model_with_a_head_beside_it(tmp_path):
    scorer = load_scorer(options(), Limits(), heads=2).eval()
    scorer.network.network.model.save_pretrained(tmp_path)
    scorer.encoder.processor.save_pretrained(tmp_path)
    classifier.save_beside(scorer.network.head.weight.detach(), tmp_path)
    assert torch.allclose(reward(load_scorer(at(tmp_path), Limits(), heads=2).eval()), reward(scorer), atol=1e-6)


def test_a_classifier_with_another_head_is_refused(tmp_path):
    config = hf.BertConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    hf.BertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"BertForSequenceClassification whose head is not one .* called score"):
        classifier.saved_head(str(tmp_path), hf.AutoConfig.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    ("model", "modality", "scores", "message"),
    [
        ("tiny_llava", "ti2t", {}, "has no ForSequenceClassification class for models of type 'llava'"),
        ("tiny_qwen2_5_vl", "ti2t", {}, "has no ForSequenceClassification class for models of type 'qwen2_5_vl'"),
        ("tiny_qwen3", "t2t", {"speaks": 4}, "criticises an answer before it scores it needs its head of tokens"),
    ],
)
def test_what_the_library_cannot_load_as_a_classifier_says_so_and_explains_its_files(
    tmp_path, model, modality, scores, message
):
    _, remark = saved(tmp_path, model, modality, **scores)
    assert remark.startswith("the export is a language model with score.safetensors beside it: ")
    assert message in remark
    card = (tmp_path / "README.md").read_text()
    assert message in card and "`score.weight`, scores × width" in card
    assert (tmp_path / "score.safetensors").is_file()
    assert "ForSequenceClassification" not in json.loads((tmp_path / "config.json").read_text())["architectures"][0]


@pytest.mark.parametrize(("model", "modality", "lines"), [("tiny_llava", "ti2t", 1), ("tiny_qwen3", "t2t", 0)])
def test_the_end_of_a_run_says_it_in_one_line(tmp_path, capsys, model, modality, lines):
    export(load_scorer(options(model, modality), Limits()), None, tmp_path / "export")
    assert capsys.readouterr().out.count("the export is a language model with score.safetensors beside it") == lines
    assert (tmp_path / "export" / "config.json").is_file()


def test_a_classifier_gives_words_no_probabilities_and_says_so(tmp_path):
    """Llama's head of tokens is its own; Qwen's, tied to the embedding, is still there."""
    saved(tmp_path / "llama", "tiny_llama")
    message = r"holds a reward model \(LlamaForSequenceClassification\).*type init=<a run that trained a policy>"
    with pytest.raises(ValueError, match=message):
        load_policy(at(tmp_path / "llama", "tiny_llama"), Limits(), reference=False)
    with pytest.raises(ValueError, match=message):
        load_scorer(at(tmp_path / "llama", "tiny_llama"), Limits(), speaks=8)
    load_scorer(at(tmp_path / "llama", "tiny_llama"), Limits())


# ---------------------------------------------------------------- conversations

ENDED = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|im_end|>{% endfor %}"
LINES = ENDED.replace("<|im_end|>", "<|im_end|>\n")
SEPARATED = ENDED.replace("<|im_end|>", "\n") + "{% if add_generation_prompt %}<|assistant|>{% endif %}\n"
MARKED = LINES.replace("{{ m['content'] }}", "{%- generation -%}{{ m['content'] }}{%- endgeneration -%}")
TWICE = LINES + "{% if add_generation_prompt %}<|assistant|>{% else %}<|endoftext|>{% endif %}"


NAMES = ["ended", "lines", "separated", "marked", "twice"]


@pytest.mark.parametrize("template", [ENDED, LINES, SEPARATED, MARKED, TWICE], ids=NAMES)
def test_a_conversation_ends_in_the_scored_token_and_a_prompt_stays_as_it_was(template):
    tokenizer = load_policy(options(), Limits(), reference=False).encoder.processor
    tokenizer.chat_template = template
    asked = tokenizer.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    tokenizer.chat_template = ending_at(tokenizer, "<|im_end|>", as_lists=False)
    assert tokenizer.apply_chat_template(CHAT, tokenize=False).endswith("<|assistant|>Two of them.<|im_end|>")
    assert tokenizer.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True) == asked
    assert ending_at(tokenizer, "<|im_end|>", as_lists=False) == tokenizer.chat_template


def test_marks_of_the_models_own_words_are_taken_out_of_a_changed_template():
    """They would stand elsewhere; the library then says that there are none."""
    tokenizer = load_policy(options(), Limits(), reference=False).encoder.processor
    tokenizer.chat_template = MARKED
    changed = ending_at(tokenizer, "<|im_end|>", as_lists=False)
    assert "generation -%}" not in changed.replace("add_generation_prompt", "")
    tokenizer.chat_template = changed
    marked = tokenizer.apply_chat_template(CHAT, return_assistant_tokens_mask=True, return_dict=True)["assistant_masks"]
    assert not any(marked)


def test_a_template_that_writes_finished_answers_otherwise_is_told_of(tmp_path):
    """A generation prompt with a beginning that no finished answer has."""
    scorer = load_scorer(options(), Limits())
    scorer.encoder.processor.chat_template = LINES + "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
    scorer.encoder = TokenEncoder(scorer.encoder.processor, scorer.encoder.family)
    remark = scorer.save(tmp_path)
    assert "render the prompt with add_generation_prompt=True and put the answer and <|im_end|> behind it" in remark
    assert remark in (tmp_path / "README.md").read_text()


def tokens(*special: str, **named: str):
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=words, **named)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "room", "chosen"),
    [
        (tokens(eos_token="</s>", pad_token="<pad>"), 99, "<pad>"),
        (tokens("<|reserved_7|>", "<|start|>", eos_token="</s>", pad_token="</s>"), 99, "<|reserved_7|>"),
        (tokens(eos_token="</s>", unk_token="<unk>"), 99, "<unk>"),
        (tokens("<|start|>", eos_token="</s>", pad_token="</s>"), 99, "<|pad|>"),
        (tokens("<|start|>", eos_token="</s>", pad_token="</s>"), 4, None),
    ],
)
def test_what_pads_is_never_the_token_that_ends_an_answer(tokenizer, room, chosen):
    """Four words are in the last vocabulary, and its embedding has room for no more."""
    assert padding_token(tokenizer, {tokenizer.eos_token_id}, room) == chosen


def test_a_model_that_pads_with_the_end_of_turns_exports_another_padding(tmp_path):
    scorer = load_scorer(options(), Limits()).eval()
    scorer.encoder.tokenizer.pad_token_id = scorer.encoder.end
    scorer.save(tmp_path)
    tokenizer, config = hf.AutoTokenizer.from_pretrained(tmp_path), hf.AutoConfig.from_pretrained(tmp_path)
    assert config.pad_token_id == tokenizer.pad_token_id != scorer.encoder.end
    model = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    longer = [CHAT[0], {"role": "assistant", "content": "Two of them, and a third one."}]
    rendered = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in (CHAT, longer)]
    with torch.no_grad():
        scores = model(**tokenizer(rendered, padding=True, add_special_tokens=False, return_tensors="pt")).logits
    assert torch.allclose(scores[0], reward(scorer), atol=1e-5)
