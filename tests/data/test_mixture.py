"""Several data sets in one run: shares, order, ids, what cannot be mixed, and a run that trains on two modalities."""

import json
import math
from collections import Counter

import pytest
import torch

from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.assembly.policy import build_policy
from aa_lightning.configuration.compose import compose, with_parts
from aa_lightning.configuration.folders import conf_dir
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.data.mixture import by_size, interleave_by_weight, round_robin
from aa_lightning.train import train
from aa_lightning.training.loader import TrainLoader
from tests.contract.support import composed

SMALL = "kinds:[colour],max_shapes:1,colours:[red,blue]"
TWO = (
    f"data.parts={{seen:{{data:shapes_ti2t,train:{{size:30,{SMALL}}},val:{{size:12}}}},"
    f"told:{{data:shapes_t2t,train:{{size:10,{SMALL}}},val:{{size:4}}}}}}"
)


def mixture(parts, *overrides, split="train", kind="preference"):
    cfg = composed("data=mixture", parts, *overrides)
    return read_examples(data_options(cfg), split, kind)


def lines(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


PAIR = {"prompt": "Q?", "chosen": "good", "rejected": "bad"}


# ---------------------------------------------------------------- shares


def test_sizes_are_tempered():
    """4 and 1 rows: T = 1 gives 4/5 and 1/5; T = 2 their roots, 2/3 and 1/3; a large T makes them equal."""
    assert by_size([4, 1], None) == pytest.approx([0.8, 0.2])
    assert by_size([4, 1], 2.0) == pytest.approx([2 / 3, 1 / 3])
    assert by_size([4_000_000, 1], math.inf) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("sizes", "shares", "counts"),
    [
        ([30, 10], [0.75, 0.25], [30, 10]),  # as they come: every row once
        ([30, 10], [0.5, 0.5], [30, 30]),  # the small one comes three times
        ([30, 10], [0.9, 0.1], [90, 10]),  # every row of the small one once: the large one three times
        ([3, 3], [2, 1], [6, 3]),
    ],
)
def test_an_epoch_has_every_row_and_the_shares(sizes, shares, counts):
    parts, rows = interleave_by_weight(sizes, shares, ["a", "b"])
    assert [Counter(parts)[i] for i in range(2)] == counts
    seen = Counter(zip(parts, rows, strict=True))
    assert set(seen) == {(part, row) for part in range(2) for row in range(sizes[part])}
    for part, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        assert {seen[part, row] for row in range(size)} <= {count // size, -(-count // size)}


def test_the_first_rows_of_an_epoch_hold_the_shares_too():
    """So that what `check` shows and measures is not of one part alone: of 30 and 10 rows, 6 and 2 of the first 8."""
    parts, rows = interleave_by_weight([30, 10], [3, 1], ["a", "b"])
    assert Counter(parts[:8]) == {0: 6, 1: 2} and rows[:4].tolist() == [0, 1, 0, 2]


def test_an_epoch_that_would_never_end_is_refused():
    with pytest.raises(ValueError, match=r"takes 100,000,\d+ rows until every row of big has come.*limit:100000"):
        interleave_by_weight([1_000_000, 10], [0.01, 0.99], ["big", "small"])


def test_held_out_rows_take_turns_so_that_a_slice_has_all_sets():
    parts, rows = round_robin([3, 1, 2])
    assert list(zip(parts, rows, strict=True)) == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2)]


# ---------------------------------------------------------------- examples


def test_rows_keep_ids_that_name_their_set_and_stay_what_they_are():
    mixed = mixture(TWO)
    assert len(mixed) == 40 and Counter(mixed[i].id.split("/")[0] for i in range(40)) == {"seen": 30, "told": 10}
    alone = read_examples(data_options(composed("data=mixture", TWO)).parts["told"].data, "train", "preference")
    first = next(mixed[i] for i in range(40) if mixed[i].id == "told/0")
    assert (first.messages, first.chosen) == (alone[0].messages, alone[0].chosen)
    media = {e.id.split("/")[0]: [p["type"] for p in e.messages[0]["content"]] for e in (mixed[i] for i in range(40))}
    assert media == {"seen": ["image", "text"], "told": ["text"]}
    assert mixed.media == {"image"}


def test_weights_are_shares():
    mixed = mixture(TWO.replace("seen:{", "seen:{weight:1,").replace("told:{", "told:{weight:3,"))
    assert Counter(mixed[i].id.split("/")[0] for i in range(len(mixed))) == {"seen": 30, "told": 90}


def test_held_out_rows_are_those_of_all_parts_once():
    mixed = mixture(TWO, split="val")
    ids = [mixed[i].id for i in range(len(mixed))]
    assert ids[:4] == ["seen/0", "told/0", "seen/1", "told/1"] and len(set(ids)) == 16
    assert len(mixed[:6]) == 6 and mixed[:6][5].id == "told/2"


def test_files_of_rows_are_parts_and_their_dropped_rows_are_named(tmp_path):
    good = lines(tmp_path / "good.jsonl", *[PAIR] * 3)
    bad = lines(tmp_path / "bad.jsonl", PAIR, {"prompt": "Q?", "chosen": "good"}, PAIR)
    mixed = mixture(f"data.parts=[{good},{bad}]", "data.on_bad_row=skip")
    assert [(d.row, d.column) for d in mixed.dropped] == [("bad/1", "rejected")]
    assert {mixed[i].id.split("/")[0] for i in range(len(mixed))} == {"good", "bad"}
    with pytest.raises(ValueError, match=r"row bad/1, column 'rejected': There is no such column"):
        mixture(f"data.parts=[{good},{bad}]")


def test_margins_count_only_where_all_parts_have_them(tmp_path):
    with_margin = lines(tmp_path / "with.jsonl", *[{**PAIR, "margin": 2}] * 30)
    without = lines(tmp_path / "without.jsonl", *[PAIR] * 30)
    alone, mixed = mixture(f"data.parts=[{with_margin}]"), mixture(f"data.parts=[{with_margin},{without}]")
    assert alone[0].margin == 2
    assert {mixed[i].margin for i in range(len(mixed))} == {None}


def test_a_corruption_spoils_the_parts_that_have_what_it_spoils():
    mixed = mixture(TWO, "data.corruption=blank", split="val")
    colours = {mixed[0].messages[0]["content"][0]["image"].getpixel((x, x)) for x in range(40)}
    assert colours == {(128, 128, 128)} and mixed[1].messages[0]["content"][0]["type"] == "text"
    with pytest.raises(ConfigError, match="no data set of the mixture has any: set corruption=null"):
        compose(["data=mixture", "data.parts=[shapes_t2t]", "data.corruption=blank"])


def test_the_order_is_a_function_of_the_seed_and_goes_on_where_it_was_saved():
    mixed = mixture(TWO)

    def loader():
        return TrainLoader(mixed, lambda items: [item.id for item in items], batch_size=4, seed=3)

    whole = [batch for batch, _ in loader()]
    first = loader()
    taken = [batch for _, (batch, _) in zip(range(5), first, strict=False)]
    second = loader()
    second.load_state_dict(first.state_dict())
    assert [*taken, *(batch for batch, _ in second)] == whole and len(whole) == 10
    assert any(len({row.split("/")[0] for row in batch}) == 2 for batch in whole)  # batches mix the sets


# ---------------------------------------------------------------- what cannot be mixed


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ("data.parts=[rlaif,alpaca]", r"names 'rlaif', and there is no data/rlaif.yaml\ndid you mean rlaif_v"),
        ("data.parts=[local]", r"data.parts.local needs a value for train.path\ntype: 'data.parts=\{local:\{train:"),
        ("data.parts=[llava_pretrain]", "needs a value for train.root"),
        ("data.parts=alpaca", "it names no parts"),
        ("data.parts=[]", "data.parts is empty"),
        ("data.parts=[3]", "3, which is no name"),
        ("data.parts={alpaca:1,gsm8k:null}", "alpaca has a weight and gsm8k has none"),
        ("data.parts={alpaca:-1}", r"data.parts.alpaca.weight=-1 .* greater than 0"),
        ("data.parts={alpaca:{limt:3}}", r"did you mean data.parts.alpaca.data.limit=3"),
    ],
)
def test_parts_that_cannot_be_are_refused_before_anything_is_read(parts, said):
    with pytest.raises(ConfigError, match=said):
        compose(["data=mixture", parts, "algo=sft"])


def test_weights_and_a_temperature_contradict_each_other():
    with pytest.raises(ConfigError, match="give either weights, which are the shares, or a temperature"):
        compose(["data=mixture", "data.parts={alpaca:1,gsm8k:1}", "data.temperature=2"])


def test_a_part_of_another_kind_than_the_algorithm_needs_is_named():
    from hydra.utils import instantiate

    cfg = compose(["data=mixture", "data.parts=[shapes_t2t,alpaca]", "algo=dpo"])
    with pytest.raises(
        ValueError, match="learns from preference rows, and the part alpaca has demonstration rows only"
    ):
        check_compatible(cfg, instantiate(cfg.algo, _convert_="all"), data_options(cfg))


def test_a_part_without_a_template_tells_its_kind_when_it_is_read(tmp_path):
    path = lines(tmp_path / "mine.jsonl", *[{"prompt": "Q?", "response": "A"}] * 20)
    with pytest.raises(ValueError, match="the part mine of the mixture: the data set has rows of kind demonstration"):
        mixture(f"data.parts=[shapes_t2t,{path}]")


def test_data_sets_of_ones_own_folder_are_parts_too(tmp_path):
    (tmp_path / "data").mkdir()
    rows = lines(tmp_path / "rows.jsonl", *[{"q": "Q?", "good": "yes", "bad": "no"}] * 20)
    (tmp_path / "data" / "mine.yaml").write_text(
        f"# @package data\ndefaults: [default, _self_]\ntrain: {{path: {rows}}}\nval_share: 0.2\n"
        "template: {kind: preference, prompt: [{text: q}], responses: [good, bad], preferred: first}\n"
    )
    cfg = compose(["data=mixture", "data.parts=[shapes_t2t]"])
    cfg.data.parts = ["mine"]
    whole = with_parts(cfg, [conf_dir(), tmp_path])
    assert whole.data.parts.mine.data.template.responses == ["good", "bad"]
    assert with_parts(whole, []) == whole


# ---------------------------------------------------------------- it trains


@pytest.mark.slow
def test_a_run_on_pictures_and_text_together_learns_and_measures_each_set(tmp_path):
    """One model, batches in which some prompts show a picture and others do not."""
    torch.manual_seed(0)
    cfg = compose(
        [
            "algo=dpo",
            "modality=ti2t",
            "data=mixture",
            TWO.replace("size:30", "size:150").replace("size:10", "size:150").replace("size:4}", "size:12}"),
            "init=null",
            "loader.batch_size=16",
            "algo.nll=0",
            "optimizer.lr=2e-3",
            "trainer.max_steps=40",
            "trainer.log_every_n_steps=10",
            "trainer.enable_progress_bar=false",
            "evaluation.num_examples=24",
            "evaluation.num_generations=8",
            "evaluation.max_new_tokens=4",
            "logger.tensorboard=false",
        ]
    )
    after = train(cfg, tmp_path)["after"]
    overall = after["heldout/preference_accuracy"]
    seen, told = after["heldout/seen/preference_accuracy"], after["heldout/told/preference_accuracy"]
    assert overall == pytest.approx((seen + told) / 2)  # 12 held-out rows of each
    assert overall >= 0.8
    assert after["heldout/blank/seen/margin"] != after["heldout/seen/margin"]
    assert after["heldout/blank/told/margin"] == pytest.approx(after["heldout/told/margin"])


@pytest.mark.slow
def test_sounds_clips_pictures_and_text_are_one_batch_with_the_numbers_of_its_rows():
    """One model that reads all of them; a batch of four modalities is its rows one by one."""
    from hydra.utils import instantiate

    from aa_lightning.training.datamodule import EncodedExamples

    parts = "data.parts=[shapes_ta2t,shapes_ti2t,shapes_tv2t,shapes_t2t]"
    cfg = compose(["data=mixture", parts, "data.limit=4", "modality=any2t", "algo=dpo", "init=null"])
    torch.manual_seed(0)
    policy = build_policy(cfg, instantiate(cfg.algo, _convert_="all"), None).eval()
    mixed = read_examples(data_options(cfg), "val", "preference")
    encoded = EncodedExamples(mixed[:4], policy.encoder)
    assert [encoded[i].example.id.split("/")[0] for i in range(4)] == [
        "shapes_ta2t",
        "shapes_ti2t",
        "shapes_tv2t",
        "shapes_t2t",
    ]
    with torch.no_grad():
        together = policy.log_likelihood(policy.prepare(encoded.collate([encoded[i] for i in range(4)]))).total
        alone = [policy.log_likelihood(policy.prepare(encoded.collate([encoded[i]]))).total for i in range(4)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-3)
