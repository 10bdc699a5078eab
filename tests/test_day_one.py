"""Twelve rows of one's own, in each format of the field: check and train end well with nothing typed but the path, or say in
one line what is missing."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from aa_lightning.assembly.data import build_data, data_options
from aa_lightning.assembly.policy import build_algorithm, build_encoder
from aa_lightning.check import check
from aa_lightning.configuration.compose import compose
from aa_lightning.launch.job import describe
from aa_lightning.train import train

COLOURS = ("red", "blue", "green", "yellow")
QUESTION = "Which colour is it?"


def turn(role, content):
    return {"role": role, "content": content}


def jsonl(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def plain(folder, pictures):
    return jsonl(
        folder,
        [{"prompt": QUESTION, "image": p, "chosen": f"It is {c}.", "rejected": "It is black."} for p, c in pictures],
    )


def parquet(folder, pictures):
    import datasets

    columns = {
        "prompt": [QUESTION] * len(pictures),
        "image": [str(folder / picture) for picture, _ in pictures],
        "completion": [f"It is {colour}." for _, colour in pictures],
        "label": [i % 2 == 1 for i in range(len(pictures))],
    }
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    table.to_parquet(str(folder / "rows.parquet"))
    return folder / "rows.parquet"


def sharegpt(folder, pictures):
    rows = [
        {
            "conversations": [
                {"from": "human", "value": f"<image>{QUESTION}"},
                {"from": "gpt", "value": f"It is {colour}."},
            ],
            "images": [picture],
        }
        for picture, colour in pictures
    ]
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder / "rows.json"


def trl(folder, pictures):
    asked = [turn("user", [{"type": "image"}, {"type": "text", "text": QUESTION}])]
    answers = {"chosen": lambda c: [turn("assistant", f"It is {c}.")], "rejected": lambda c: [turn("assistant", "No.")]}
    return jsonl(
        folder, [{"prompt": asked, "images": [p], **{k: said(c) for k, said in answers.items()}} for p, c in pictures]
    )


def openai(folder, pictures):
    def content(picture):
        return [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": QUESTION}]

    return jsonl(
        folder,
        [{"messages": [turn("user", content(p)), turn("assistant", f"It is {c}.")]} for p, c in pictures],
    )


def csv(folder, pictures):
    lines = [f"{QUESTION},{p},It is {c}.,{'yes' if i % 3 else 'NO'}" for i, (p, c) in enumerate(pictures)]
    (folder / "rows.csv").write_text("\n".join(["prompt,image,response,label", *lines]) + "\n", encoding="utf-8")
    return folder / "rows.csv"


# which algorithms a format serves: pairs serve all, ratings all but pairs, demonstrations themselves
SERVED = {
    plain: {"sft", "dpo", "kto", "reward_model"},
    trl: {"sft", "dpo", "kto", "reward_model"},
    parquet: {"sft", "kto"},
    csv: {"sft", "kto"},
    sharegpt: {"sft"},
    openai: {"sft"},
}
QUICK = {(plain, "dpo"), (csv, "kto"), (openai, "sft"), (trl, "reward_model"), (sharegpt, "dpo")}
PAIRS = [
    pytest.param(form, algo, marks=() if (form, algo) in QUICK else pytest.mark.slow, id=f"{form.__name__}-{algo}")
    for form in SERVED
    for algo in ("sft", "dpo", "kto", "reward_model")
]


@pytest.mark.parametrize(("form", "algo"), PAIRS)
def test_twelve_rows_are_checked_and_trained_with_nothing_but_their_path(tmp_path, form, algo, capsys):
    pictures = [(f"{i}.png", COLOURS[i % 4]) for i in range(12)]
    for name, colour in pictures:
        Image.new("RGB", (64, 48), colour).save(tmp_path / name)
    typed = [f"algo={algo}", "data=local", f"data.train.path={form(tmp_path, pictures)}"]
    if algo not in SERVED[form]:
        for run in (check, train):
            with pytest.raises(
                ValueError, match=r"learns from \w+ rows, and the data set has \w+ rows only: type a data="
            ) as refused:
                run(compose([*typed, f"output={tmp_path}"], run.__name__))
            assert describe(refused.value)[1] and "\n" not in str(refused.value)
        return
    found = check(compose(typed, "check"))
    examples = len(found.train)
    assert not found.stopping
    assert found.trained.showing["image"] == examples
    capsys.readouterr()
    out = train(compose([*typed, f"output={tmp_path}", "trainer.max_steps=2", "trainer.enable_progress_bar=false"]))
    assert out["steps"] == 2 and out["init"] is None
    assert any(name.startswith("heldout/") for name in out["after"])
    assert any(name.startswith("heldout/blank/") for name in out["after"])
    if algo == "kto" and form in (parquet, csv):  # pairs are measured as pairs
        assert out["before"]["heldout/verdict_accuracy"] == 0.5
    said = capsys.readouterr().out
    if examples < 16:
        assert re.search(rf"takes {examples} prompts and not \d+", said)


def test_too_few_held_out_rows_for_the_processes_are_said_by_check_and_train_alike(tmp_path):
    path = plain(tmp_path, [(f"{i}.png", "red") for i in range(12)])
    for i in range(12):
        Image.new("RGB", (64, 48), "red").save(tmp_path / f"{i}.png")
    cfg = compose(["data=local", f"data.train.path={path}", "trainer.devices=2", "strategy=ddp"], "check")
    with pytest.raises(ValueError, match="1 held-out rows cannot be shared among 2 processes: type data.val_share=0.3"):
        check(cfg)
    cfg.data.val_share = 0.3
    assert len(check(cfg).held_out) >= 2


@pytest.mark.parametrize("algo", ["kto", "bco", "apo_zero_unpaired"])
def test_train_says_what_it_did_not_read_what_it_left_out_and_labels_of_one_class(algo, tmp_path, capsys):
    pictures = [(f"{i}.png", "red") for i in range(6)]
    for name, colour in pictures[:5]:
        Image.new("RGB", (64, 48), colour).save(tmp_path / name)
    rows = [{"prompt": QUESTION, "image": p, "completion": "Red.", "label": "yes", "source": 1} for p, _ in pictures]
    cfg = compose(["data=local", f"data.train.path={jsonl(tmp_path, rows)}", f"algo={algo}", "data.on_bad_row=skip"])
    algorithm = build_algorithm(cfg)
    build_data(cfg, algorithm, build_encoder(cfg), data_options(cfg))
    said = capsys.readouterr().out
    assert "columns: completion, image, label, prompt; not read: source" in said
    assert "left out 1 × image: There is no image file" in said and "(row 5)" in said
    assert said.count("every answer is desirable") == 1


CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize(
    ("algo", "file", "measure"),
    [
        ("sft", "sft.jsonl", "logp_per_term"),
        ("odpo", "margin.jsonl", "preference_accuracy"),
        ("reward_model", "margin.jsonl", "reward_accuracy"),
    ],
)
def test_what_only_columns_tell_trains_and_is_measured_with_its_control(tmp_path, algo, file, measure):
    typed = ["data=local", f"algo={algo}", "modality=ti2t", f"data.train.path={CASES / file}", "data.val_share=0.4"]
    short = ["init=null", "trainer.max_steps=2", "loader.batch_size=2", "trainer.enable_progress_bar=false"]
    out = train(compose([*typed, *short, f"output={tmp_path}"]))
    assert {f"heldout/{measure}", f"heldout/blank/{measure}"} <= set(out["after"])


def test_the_numbers_of_a_step_do_not_depend_on_how_it_is_cut(tmp_path):
    """Sixteen pairs, a step of four, forward passes of four and of two."""
    losses = []
    for micro in ("null", "2"):
        typed = ["data=local", "algo=dpo", "modality=ti2t", "model=tiny_llava", "data.val_share=0.25", "init=null"]
        typed += [
            f"data.train.path={CASES / 'accumulation.jsonl'}",
            "loader.batch_size=4",
            f"loader.micro_batch_size={micro}",
        ]
        typed += ["trainer.max_steps=1", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false"]
        losses.append(train(compose([*typed, f"output={tmp_path / micro}"]))["train"]["train/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
