"""What the data module makes of examples: supervision, limits of length, batches of similar length."""

import pytest
import torch

from aa_lightning import build
from aa_lightning.datamodule import EncodedExamples, supervised_terms, supervision
from aa_lightning.models.encoding import TooLong
from aa_lightning.types import Preference, Rating, text
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
    data = build.build_data(cfg, algorithm, policy.encoder, build.data_options(cfg)).train_examples
    with pytest.raises(
        TooLong, match=r"row \d+, column 'prompt': The prompt has \d+ tokens, media included, and the limit is 21"
    ):
        [data[i] for i in range(len(data))]


def test_rows_over_the_limit_are_left_out_by_name_when_skipped():
    algorithm, policy, cfg = make("tiny_llava", "dpo", "loader.max_prompt_tokens=26", "loader.on_long=skip", *VARIED)
    data = build.build_data(cfg, algorithm, policy.encoder, build.data_options(cfg)).train_examples
    kept = [data[i].encoded.prompt["input_ids"].shape[1] for i in range(len(data))]
    assert max(kept) <= 26
    assert len(kept) + len(data.examples.dropped) == 64
    assert {row.column for row in data.examples.dropped} == {"length"}


def test_truncation_cuts_responses_and_never_prompts():
    algorithm, policy, cfg = make(
        "tiny_llava", "dpo", "loader.max_response_tokens=4", "loader.on_long=truncate", *VARIED
    )
    data = build.build_data(cfg, algorithm, policy.encoder, build.data_options(cfg)).train_examples
    assert max(len(r) for i in range(len(data)) for r in data[i].encoded.responses) == 4


def test_bucketed_batches_have_less_padding_and_the_same_rows():
    share = {}
    for bucket in ("true", "false"):
        algorithm, policy, cfg = make("tiny_llava", "dpo", f"loader.bucket={bucket}", "loader.batch_size=8", *VARIED)
        batches = list(build.build_data(cfg, algorithm, policy.encoder, build.data_options(cfg)).train_dataloader())
        assert sorted(i for b in batches for i in b.ids) == sorted(str(i) for i in range(64))
        share[bucket] = sum((1 - b.prompt["attention_mask"]).sum().item() for b in batches)
    assert share["true"] < 0.7 * share["false"]


def test_every_batch_of_a_step_carries_the_terms_of_the_whole_step():
    algorithm, policy, cfg = make("tiny_llava", "sft", "loader.batch_size=8", "loader.micro_batch_size=2", *VARIED)
    data = build.build_data(cfg, algorithm, policy.encoder, build.data_options(cfg))
    assert data.accumulate == 4
    batches = list(data.train_dataloader())[:4]
    assert {b.normalizer.item() for b in batches} == {sum(supervised_terms(b) for b in batches)}


def test_kept_examples_are_encoded_once():
    _, policy, cfg = make("tiny_llava", "dpo", *VARIED)
    data = EncodedExamples(build.examples(build.data_options(cfg), "val", "preference"), policy.encoder, keep=1)
    assert data[0] is data[0]
    assert data[1] is not data[1]
    assert torch.equal(data[1].encoded.responses[0], data[1].encoded.responses[0])
