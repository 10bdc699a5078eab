"""Every recipe of conf/experiment that is a way to build data: it composes, its first examples are right, it trains."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from PIL import Image
from pydantic import TypeAdapter

from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.folders import conf_dir
from aa_lightning.data.examples import Examples
from aa_lightning.data.kinds import can_serve
from aa_lightning.data.multi_row import Symbols
from aa_lightning.data.shapes import check_answer, check_picture
from aa_lightning.data.template.schema import TemplateOptions
from aa_lightning.data.template.template import Template
from aa_lightning.train import train
from tests.data.support import Memory

RECIPES = {  # held-out measures after a few dozen steps: name, and what it is at least
    "bpo": ("preference_accuracy", 0.6),
    "clip_dpo": ("preference_accuracy", 0.6),
    "csr": ("preference_accuracy", 0.6),
    "llava_next_interleave": ("preference_accuracy", 0.5),
    "mavis": ("preference_accuracy", 0.6),
    "mia_dpo": ("margin", 0.0),
    "mrdpo": ("preference_accuracy", 0.5),
    "rlaif_v": ("preference_accuracy", 0.6),
    "silkie": ("preference_accuracy", 0.6),
    "sima": ("preference_accuracy", 0.6),
    "symdpo": ("answer_accuracy", 0.3),  # one of the two symbols shown, of four
    "vlguard": ("harmful/answer_accuracy", 0.9),
}
REWARDED = (  # those that learn from rewards, of tests/test_recipes_of_rewards.py
    *(
        "easyr1_geometry",
        "iterative_rpo",
        "llava_rlhf",
        "lmm_r1",
        "lmm_r1_text",
        "open_r1_video",
        "oreal",
        "prime",
        "safe_rlhf_v",
        "self_rewarding",
        "vlm_r1",
    ),
)
PAGE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
FEW = "data.limit=60"


def examples(name, *overrides, split="train"):
    """The examples that a recipe trains on."""
    cfg = compose([f"experiment={name}", FEW, *overrides])
    algorithm = instantiate(cfg.algo, _convert_="all")
    data = data_options(cfg).serving(algorithm)
    check_compatible(cfg, algorithm, data)
    return read_examples(data, split, algorithm.supervision)


def words(response):
    return "".join(part["text"] for part in response)


def asked(example):
    return [part["text"] for part in example.messages[-1]["content"] if part["type"] == "text"][-1]


def pictures(example):
    content = [part for message in example.messages for part in message["content"]]
    return [part["image"] for part in content if part["type"] == "image"]


def mistakes(right, said):
    """How many words differ but for articles."""
    listed = [[w for w in re.findall(r"\w+", text.lower()) if w not in ("a", "an")] for text in (right, said)]
    return sum(a != b for a, b in zip(*listed, strict=True))


@pytest.mark.parametrize(
    ("name", "found", "per_row"),
    [
        ("silkie", {(0, 1), (0, 2), (1, 2)}, 3),
        ("rlaif_v", {(0, 1), (0, 2), (1, 2)}, 3),
        ("sima", {(0, 1), (1, 2)}, 2),
        ("bpo", {(0, 1), (0, 2)}, 2),
        ("clip_dpo", {(0, 1), (0, 2)}, 1),
        ("csr", {(0, 1), (0, 2)}, 1),
    ],
)
def test_answers_with_scores_become_the_pairs_of_the_paper(name, found, per_row):
    """The mistakes of (better, worse) over all pairs, and the most pairs of a row; equal scores make none."""
    pairs, rows = set(), {}
    for example in examples(name):
        truth = example.answer
        pairs.add((mistakes(truth, words(example.chosen)), mistakes(truth, words(example.rejected))))
        rows.setdefault(example.id.split("/")[0], []).append(example)
    assert pairs == found and max(map(len, rows.values())) == per_row and len(rows) == 60


def test_claims_are_counted_and_not_facts():
    """Two mistakes about one thing deny one claim, as one mistake does: no pair."""
    whole = examples("rlaif_v")
    for example in whole:
        claims = [re.split(r", | and ", words(r).rstrip(".").lower()) for r in (example.chosen, example.rejected)]
        denied = [sum(claim not in example.answer for claim in told) for told in claims]
        assert denied[0] <= denied[1]
    assert len(whole) < 3 * 60


@pytest.mark.parametrize(("ratio", "rows"), [(1.01, "fewer"), (3.0, "all")])
def test_pairs_of_unlike_lengths_are_left_out_and_counted(ratio, rows):
    found = examples("clip_dpo", f"data.template.accept.length_ratio={ratio}")
    for example in found:
        short, long = sorted((len(words(example.chosen)), len(words(example.rejected))))
        assert long <= ratio * short
    assert len(found) + len(found.dropped) == 60 and (len(found.dropped) > 0) == (rows == "fewer")
    assert all("accept" in row.reason for row in found.dropped)


def test_a_gap_leaves_out_pairs_that_are_too_close():
    """Three ratings have the mean 1 where all is right, 0 where colours and shapes are wrong: only these are 0.9 apart."""
    found = examples("clip_dpo", "data.template.accept.gap=0.9")
    assert 0 < len(found) < 60
    for example in found:
        for vocabulary in ({"red", "green", "blue", "yellow"}, {"circle", "square", "triangle"}):
            in_order = [[w for w in re.findall(r"\w+", words(r).lower()) if w in vocabulary] for r in example.responses]
            assert in_order[0] != in_order[1]


def test_a_picture_stands_among_others_and_the_question_names_its_place():
    """MIA-DPO: the picture at the named place is the row's own, and the worse answer is right about another one."""
    places, forms = {"first": 0, "second": 1, "third": 2}, set()
    plain = {e.id: e for e in examples("mia_dpo", "data.multi_row=null")}
    for example in examples("mia_dpo"):
        own, shown = np.asarray(pictures(plain[example.id])[0]), pictures(example)
        where = re.match(r"In the (.*?): ", asked(example))[1]
        assert asked(example).endswith("which shapes are there, from top left to bottom right?")
        if len(shown) == 3:
            form, cut = "sequence", shown[places[where.split()[0]]]
        elif shown[0].size == (96, 96):
            row, column = "bottom" in where, "right" in where
            form, cut = "grid", shown[0].crop((48 * column, 48 * row, 48 * column + 48, 48 * row + 48))
        else:
            form, cut = where.split()[0], None
            inset = np.asarray(shown[0].crop((32, 32, 48, 48)))
            small = np.asarray(pictures(plain[example.id])[0].resize((16, 16)))
            outside = np.ones((48, 48), bool)
            outside[32:, 32:] = False
            same = np.array_equal(inset, small), np.array_equal(np.asarray(shown[0])[outside], own[outside])
            assert same[form == "large"]
        forms.add(form)
        assert cut is None or np.array_equal(np.asarray(cut), own)
        assert example.chosen == plain[example.id].chosen and not check_answer(example.answer, words(example.rejected))
    assert forms == {"sequence", "grid", "small", "large"}


def test_the_misleading_answer_is_right_about_another_picture_of_the_sequence():
    for example in examples("mia_dpo", "data.multi_row.forms=[sequence]", "data.multi_row.images=2"):
        captions = [words(example.chosen).rstrip(".").lower(), words(example.rejected).rstrip(".").lower()]
        shown = pictures(example)
        first = "first" in asked(example)
        for caption, picture in zip(captions if first else captions[::-1], shown, strict=True):
            assert check_picture(caption, picture)


def test_the_misleading_answer_is_about_as_long():
    """Captions of one to four shapes: of unlike pictures lengths would differ by 20 characters and more on average."""
    found = examples("mia_dpo", "data.limit=200")
    gaps = [len(words(example.chosen)) - len(words(example.rejected)) for example in found]
    assert np.abs(gaps).mean() < 2 and abs(np.mean(gaps)) < 1


def test_a_symbol_stands_for_the_answer_that_only_the_pictures_tell():
    """SymDPO: the demonstration whose picture answers alike has the chosen symbol, the other the rejected one."""
    alone = examples("symdpo", "data.multi_row=null")
    plain = {e.id: words(e.chosen) for e in alone}
    by_picture = {pictures(e)[0].tobytes(): words(e.chosen) for e in alone}
    firsts = set()
    for example in examples("symdpo"):
        roles = [message["role"] for message in example.messages]
        assert roles == ["user", "assistant", "user", "assistant", "user"]
        means = {
            words(answer["content"]): by_picture[shown["content"][0]["image"].tobytes()]
            for shown, answer in zip(example.messages[0:4:2], example.messages[1:4:2], strict=True)
        }
        assert means[words(example.chosen)] == plain[example.id] != means[words(example.rejected)]
        assert example.answer == words(example.chosen)
        firsts.add(means[words(example.messages[1]["content"])] == plain[example.id])
    assert firsts == {True, False}  # the right one stands at either place


def test_rows_that_find_no_company_are_left_out_and_counted():
    found = examples("symdpo", "data.limit=12", "data.multi_row.demonstrations=3")
    assert len(found) + len(found.dropped) == 12 and len(found.dropped) > 0
    assert {row.reason for row in found.dropped} == {found.multi_row.lacking}


def test_what_cannot_be_shown_together_is_refused():
    with pytest.raises(ValueError, match="one turn with one image"):
        examples("mia_dpo", "modality=ta2t", "data=shapes_ta2t")


ALBUM = "data.multi_row={name:album,forms:[grid],images:2,rejected:own}"
SYMBOLS = "data.multi_row={name:symbols,demonstrations:2,symbols:[foo,bar]}"


@pytest.mark.parametrize(
    ("together", "algo", "says"),
    [
        (ALBUM, "reward_critique", "answers of their row, and the algorithm learns from feedback rows: type algo=dpo"),
        (SYMBOLS, "kto", "two answers, and the algorithm learns from rating rows: type algo=dpo"),
        (SYMBOLS, "odpo", "needs by how much each chosen response is better, and the data set does not say"),
    ],
)
def test_what_prompts_of_several_rows_cannot_serve_is_refused_before_rows_are_read(together, algo, says):
    cfg = compose(["data=shapes_colours", together, f"algo={algo}"])
    algorithm = instantiate(cfg.algo, _convert_="all")
    with pytest.raises(ValueError, match=says):
        check_compatible(cfg, algorithm, data_options(cfg).serving(algorithm))


def test_interleaved_prompts_show_one_picture_several_and_clips():
    found = examples("llava_next_interleave")
    shown = {}
    for i in range(8):
        media = [part["type"] for part in found[i].messages[-1]["content"] if part["type"] != "text"]
        shown.setdefault(found[i].id.split("/")[0], set()).add(tuple(media))
    assert shown["single"] == {("image",)} and shown["among"] == {("image", "image")} and shown["clips"] == {("video",)}
    assert shown["several"] <= {("image",) * 2, ("image",) * 3}


def test_reasons_come_before_the_answer():
    for example in examples("mavis"):
        reasons, _, answer = words(example.chosen).partition(" So the answer is ")
        assert [claim.lower() for claim in reasons.rstrip(".").split(". ")] == re.split(r", | and ", answer.rstrip("."))
        assert example.answer == words(example.chosen) and mistakes(words(example.chosen), words(example.rejected)) == 2


def test_a_third_of_the_requests_is_to_be_refused():
    found = examples("vlguard")
    harmful = [example for example in found if example.id.startswith("harmful/")]
    assert len(harmful) / len(found) == pytest.approx(1 / 3, abs=0.01)
    assert {words(example.response) for example in harmful} == {"I must not help with this."}
    assert all(example.answer == words(example.response) for example in harmful)
    assert all("picture" in asked(example) for example in harmful)
    assert {words(e.response)[:2] for e in found if e not in harmful} == {"A "}


def test_a_round_trains_an_adapter_and_imitates_refined_captions():
    cfg = compose(["experiment=mrdpo", FEW])
    algorithm = instantiate(cfg.algo, _convert_="all")
    assert "gold" in algorithm.wants and algorithm.weights == {"preference": 1.0, "language": 0.1}
    assert cfg.model.lora.rank == 8 and cfg.modality_name == "tv2t"
    examples("mrdpo")


def test_every_recipe_stands_here_and_on_its_page():
    others = {"blank_control", "compose_two_stages", "pure_dpo"}  # of other pages
    assert {path.stem for path in (conf_dir() / "experiment").glob("*.yaml")} == {*RECIPES, *REWARDED, *others}
    assert all(f"experiment={name}" in PAGE for name in (*RECIPES, *REWARDED))


def commands():
    """Of every recipe, what is typed for a real model and real rows, as its file says it."""
    for name in (*RECIPES, *REWARDED):
        text = (conf_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").replace("\\\n#", " ")
        for typed in re.findall(r"^# python -m aa_lightning.train (.*)$", text, re.MULTILINE):
            yield name, shlex.split(re.sub(r"<.*?>", "somewhere", typed), comments=True)


@pytest.mark.parametrize(
    ("recipe", "data", "file", "expected"),
    [
        (
            "clip_dpo",
            "scored_answers",
            "answers.jsonl",
            [("A red cup.", "Two cups.")],
        ),  # 0.19 apart, 10 and 9 characters
        ("bpo", "scored_answers", "answers.jsonl", [("A red cup.", "A cup."), ("A red cup.", "Two cups.")]),
        ("rlaif_v", "scored_claims", "claims.jsonl", [("A red cup.", "Two cups.")]),
        ("csr", "scored_sentences", "beams.jsonl", [("A cup. It is red.", "A cat.")]),
    ],
)
def test_the_rows_that_the_page_shows_become_pairs(tmp_path, recipe, data, file, expected):
    for name, text in re.findall(r"^```json (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "table.png")
    cfg = compose([f"experiment={recipe}", f"data={data}", f"data.train.path={tmp_path / file}", "data.val_share=null"])
    found = read_examples(data_options(cfg), "train", "preference")
    assert [(words(e.chosen), words(e.rejected)) for e in found] == expected


@pytest.mark.slow
def test_the_commands_for_real_rows_compose(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, typed in commands():
        for word in typed:  # a file of which only its columns tell what it holds
            if word.startswith("data.train.path=") and word.endswith(".jsonl"):
                row = '{"prompt": "Q?", "chosen": "Yes.", "rejected": "No."}'
                (tmp_path / word.partition("=")[2]).write_text(row)
        cfg = compose(typed)
        data = data_options(cfg)
        assert typed[0] == f"experiment={name}" and "shapes" not in cfg.model.path
        algorithm = instantiate(cfg.algo, _convert_="all")
        assert all(can_serve(kind, algorithm.supervision) for kind in data.kinds.values())
    assert {name for name, typed in commands() if any(word.startswith("data=") for word in typed)} == {
        *RECIPES,
        *REWARDED,
    }


def test_right_answers_alone_are_enough_for_symbols():
    """Four pictures, two of each colour, asked the same: each row finds one that answers alike and one that does not."""
    rows = [{"q": "Which?", "a": name, "image": Image.new("RGB", (8, 8), name)} for name in ("red", "blue") * 2]
    told = {"kind": "demonstration", "prompt": [{"image": "image"}, {"text": "q"}], "completion": "a"}
    template = Template(TypeAdapter(TemplateOptions).validate_python(told))
    together = Symbols(name="symbols", demonstrations=2, symbols=["foo", "bar"])
    found = Examples(Memory(rows), template, "preference", multi_row=together)
    assert len(found) == 4 and {words(e.chosen) for e in found} <= {"foo", "bar"}
    assert all(words(e.chosen) != words(e.rejected) for e in found)
    alone = Examples(Memory(rows[:3]), template, "preference", multi_row=together)
    assert [row.row for row in alone.dropped] == ["1"]  # the one blue picture


def test_a_request_of_another_kind_is_left_out_of_vlguard(tmp_path):
    turns = [{"safe_instruction": "What is it?", "response": "A cup."}]
    rows = [
        {"image": "a.png", "instr-resp": turns},
        {"image": "a.png", "instr-resp": [{"instruction": "Do.", "response": "No."}]},
    ]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "train.json").write_text(json.dumps(rows))
    cfg = compose(["algo=sft", "data=vlguard", f"data.train.path={tmp_path / 'train.json'}", "data.val_share=null"])
    found = read_examples(data_options(cfg), "train", "demonstration")
    assert [(asked(e), words(e.response)) for e in found] == [("Do.", "No.")]
    assert [row.row for row in found.dropped] == ["0"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains(name, tmp_path):
    few = ["data.limit=400", "trainer.max_steps=60", "evaluation.num_examples=96", "evaluation.num_generations=48"]
    quiet = ["evaluation.blank_media_control=false", "logger.tensorboard=false", "trainer.enable_progress_bar=false"]
    summary = train(compose([f"experiment={name}", *few, *quiet, "evaluation.samples=0"]), tmp_path / "run", tell=False)
    print(name, {key: (summary["before"].get(key), value) for key, value in summary["after"].items()})
    measure, least = RECIPES[name]
    assert summary["after"][f"heldout/{measure}"] > least
    assert np.isfinite(summary["train"]["train/loss"])
