"""What the data module makes of examples: supervision, limits of length, batches of similar length."""

import numpy as np
import pytest
import torch
from PIL import Image

from aa_lightning.assembly.data import build_data, data_options, read_examples
from aa_lightning.assembly.options import options_of
from aa_lightning.media.audio import Sound
from aa_lightning.media.video import Clip
from aa_lightning.models.token.encoder import TooLong
from aa_lightning.training.datamodule import EncodedExamples, Fitting, Wanted, supervised_terms, supervision
from aa_lightning.training.sizes import bytes_of
from aa_lightning.types import Feedback, Preference, Rating, text
from tests.contract.support import make

VARIED = ["data.train.kinds=null", "data.train.max_shapes=3", "data.train.size=64", "data.val.size=32"]


def test_a_margin_is_supervision_only_where_every_row_has_one():
    rows = [
        Preference(id=str(i), messages=[], chosen=[text("a")], rejected=[text("b")], margin=m)
        for i, m in enumerate((1, 2))
    ]
    assert supervision(rows)["margin"].tolist() == [1.0, 2.0]
    without = Preference(id="3", messages=[], chosen=[text("a")], rejected=[text("b")])
    assert supervision([*rows, without]) == {}


def test_ratings_say_whether_a_response_is_desirable():
    rows = [Rating(id=str(d), messages=[], response=[text("a")], desirable=d) for d in (True, False)]
    assert supervision(rows)["desirable"].tolist() == [[True], [False]]


def test_a_prompt_over_the_limit_is_an_error_that_names_row_tokens_and_key():
    algorithm, policy, cfg = make("tiny_llava", "dpo", "loader.max_prompt_tokens=21", *VARIED)
    data = build_data(cfg, algorithm, policy.encoder, data_options(cfg)).train_examples
    with pytest.raises(
        TooLong, match=r"row \d+, column 'prompt': The prompt has \d+ tokens, media included, and the limit is 21"
    ):
        [data[i] for i in range(len(data))]


def test_rows_over_the_limit_are_left_out_by_name_when_skipped():
    algorithm, policy, cfg = make("tiny_llava", "dpo", "loader.max_prompt_tokens=26", "loader.overlong=skip", *VARIED)
    data = build_data(cfg, algorithm, policy.encoder, data_options(cfg)).train_examples
    kept = [data[i].encoded.prompt["input_ids"].shape[1] for i in range(len(data))]
    assert max(kept) <= 26
    assert len(kept) + len(data.examples.dropped) == 64
    assert {row.column for row in data.examples.dropped} == {"length"}


def test_truncation_cuts_responses_and_never_prompts():
    algorithm, policy, cfg = make(
        "tiny_llava", "dpo", "loader.max_response_tokens=4", "loader.overlong=truncate", *VARIED
    )
    data = build_data(cfg, algorithm, policy.encoder, data_options(cfg)).train_examples
    assert max(len(r) for i in range(len(data)) for r in data[i].encoded.responses) == 4


def test_bucketed_batches_have_less_padding_and_the_same_rows():
    share = {}
    for bucket in ("true", "false"):
        algorithm, policy, cfg = make(
            "tiny_llava", "dpo", f"loader.group_by_length={bucket}", "loader.batch_size=8", *VARIED
        )
        loader = build_data(cfg, algorithm, policy.encoder, data_options(cfg)).train_dataloader()
        batches = [batch for batch, _ in loader]
        assert sorted(i for b in batches for i in b.ids) == sorted(str(i) for i in range(64))
        share[bucket] = sum((1 - b.prompt["attention_mask"]).sum().item() for b in batches)
    assert share["true"] < 0.7 * share["false"]


def test_every_batch_of_a_step_comes_with_the_terms_of_the_whole_step():
    algorithm, policy, cfg = make("tiny_llava", "sft", "loader.batch_size=8", "loader.micro_batch_size=2", *VARIED)
    data = build_data(cfg, algorithm, policy.encoder, data_options(cfg))
    assert data.accumulate == 4
    counted = list(data.train_dataloader())[:4]
    assert {terms.item() for _, terms in counted} == {sum(supervised_terms(batch) for batch, _ in counted)}


def test_kept_examples_are_encoded_once_as_long_as_their_bytes_fit():
    """Room for two and a half rows keeps two; a picture counts with its pixels."""
    _, policy, cfg = make("tiny_llava", "dpo", *VARIED)
    rows = read_examples(data_options(cfg), "val", "preference")
    size = bytes_of(EncodedExamples(rows, policy.encoder)[0])
    picture = next(part["image"] for part in rows[0].messages[-1]["content"] if part["type"] == "image")
    pixels = policy.encoder.encode(rows[0], []).prompt["pixel_values"]
    assert size > 3 * picture.width * picture.height + pixels.nbytes
    data = EncodedExamples(rows, policy.encoder, keep=int(2.5 * size))
    assert data[0] is data[0] and data[1] is data[1]
    assert data[2] is not data[2]
    assert torch.equal(data[2].encoded.responses[0], data[2].encoded.responses[0])
    assert data.kept.size <= data.kept.limit


def test_the_bytes_of_a_row_are_those_of_its_tensors_media_and_words_wherever_they_lie():
    """4·6 of ids, 2·3·3 of pixels, 4·10 of samples, 2·3·2·2 of frames, 5 letters."""
    sound = Sound(np.zeros(10, np.float32), 16_000)
    clip = Clip(np.zeros((2, 3, 2, 2), np.uint8), np.zeros(0), None)
    inside = [{"image": Image.new("RGB", (2, 3)), "audio": sound}, {"video": clip, "text": "words"}]
    assert bytes_of({"ids": torch.zeros(6), "parts": inside, "none": None, "count": 7}) == 24 + 18 + 40 + 24 + 5


def test_data_workers_share_the_bound_of_what_is_kept():
    sizes = {}
    for workers in (0, 1, 4):
        _, _, cfg = make("tiny_llava", "dpo", "loader.cache_mib=8", f"loader.workers={workers}", *VARIED)
        sizes[workers] = options_of(cfg, "loader").kept_bytes
    assert sizes == {0: 8 * 2**20, 1: 8 * 2**20, 4: 2 * 2**20}


class Rows(list):
    """Examples as a source gives them, none of them dropped."""

    dropped: tuple = ()
    media: frozenset = frozenset()
    on_bad_row = "error"


LONG = "There are three of them, side by side, and the last one is blue."


@pytest.mark.parametrize(
    ("wanted", "beside"),
    [
        ("gold", {"refinement": (None, [text(LONG)])}),
        ("critique", {"critique": ("Right.", LONG)}),
        ("critique", {"critique": (LONG, None)}),
    ],
)
def test_a_refinement_or_a_critique_over_the_limit_is_left_out_by_name_or_refused(wanted, beside):
    said = {
        "chosen": [text("Two.")],
        "rejected": [text("Three.")],
        "messages": [{"role": "user", "content": [text("?")]}],
    }
    short = {"critique": ("Right.", "Wrong."), "refinement": (None, [text("Two.")])}
    rows = Rows([Feedback(id="short", **said, **short), Feedback(id="long", **said, **{**short, **beside})])
    _, policy, _ = make("tiny_qwen2", "dpo", "loader.max_response_tokens=8", "loader.overlong=skip")
    found = Fitting(rows, policy.encoder, True, False, Wanted((wanted,)))
    assert [row.id for row in found] == ["short"]
    assert [(row.row, row.column) for row in found.dropped] == [("long", "length")]
    assert [row.id for row in Fitting(rows, policy.encoder, True, False)] == [
        "short",
        "long",
    ]  # it is no part of any batch
    with pytest.raises(TooLong, match=r"row long, column 'response': A response has \d+ tokens and the limit is 8"):
        EncodedExamples(rows, policy.encoder, wanted=Wanted((wanted,)))[1]


def test_critiques_of_a_run_are_measured_with_its_answers():
    """Rows whose answers fit are left out for what is said about them, where the algorithm reads that."""
    left = {}
    for algo in ("reward_model", "reward_critique"):
        algorithm, policy, cfg = make(
            "tiny_llava", algo, "loader.overlong=skip", "loader.max_response_tokens=14", *VARIED
        )
        data = build_data(cfg, algorithm, policy.encoder, data_options(cfg)).train_examples
        left[algo] = len([data[i] for i in range(len(data))])
        assert left[algo] + len(data.examples.dropped) == 64
    assert 0 < left["reward_critique"] < left["reward_model"]


def test_loaders_pin_every_tensor_of_a_batch_and_of_its_branches(monkeypatch):
    """torch's own hook, as loaders call it on a machine with a GPU."""
    from torch.utils.data._utils.pin_memory import pin_memory

    algorithm, policy, cfg = make("tiny_llava", "triple_po", *VARIED)
    batch, _ = next(iter(build_data(cfg, algorithm, policy.encoder, data_options(cfg)).train_dataloader()))
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: pinned.append(id(self)) or self.clone())
    copy = pin_memory(batch)
    parts = [batch, *batch.branches.values()]
    tensors = [t for one in parts for held in (one.prompt, one.response, one.supervision) for t in held.values()]
    assert batch.branches and {id(tensor) for tensor in tensors} <= set(pinned)
    assert all(torch.equal(copy.prompt[key], value) for key, value in batch.prompt.items())
    assert copy.ids == batch.ids and copy.blocks == batch.blocks
