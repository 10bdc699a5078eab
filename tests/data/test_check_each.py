"""`python -m aa_lightning.check data=<name>` shows what would be trained on, for a row of every shipped data set."""

import re

import datasets
import pytest

from aa_lightning.check import main
from aa_lightning.configuration.compose import compose

from .cases import CASES, READ_BY
from .test_datasets import missing, options_of, with_files

ALGORITHMS = {"preference": "dpo", "feedback": "dpo", "demonstration": "sft", "rating": "kto", "prompt": "grpo"}


def media_of(name):
    """The media that prompts show, and those that answers hold."""
    template = options_of(name).template
    answers = [*(template.responses or []), *([template.completion] if template.completion else [])]
    listed = [template.answers] if template.answers is not None and not isinstance(template.answers, str) else []
    written = [part for answer in answers for part in answer] + listed
    return {part.medium for part in template.prompt} - {None}, {part.medium or "text" for part in written}


def model_for(name):
    shown, written = media_of(name)
    if written - {"text"}:
        return "tiny_emu3" if "text" in written else "tiny_sd"
    return "tiny_qwen2_5_omni" if shown - {"image"} else "tiny_llava" if shown else "tiny_qwen2"


def command(name, folder):
    """The words after `check`, for a file with the data set's row."""
    datasets.Dataset.from_list([CASES[name].row]).to_parquet(str(folder / "rows.parquet"))
    root = with_files(name, folder)
    given = [
        f"data={name}",
        f"algo={algorithm_for(name)}",
        f"model={model_for(name)}",
        "data.val=null",
        "data.val_share=null",
    ]
    given += [f"data.train.path={folder / 'rows.parquet'}"]
    return [*given, f"data.train.root={root}"] if "train.root" in missing(name) else given


def algorithm_for(name):
    kind = options_of(name).template.kind
    # ratings on a model with a bound on the likelihood alone: what is desirable serves as a demonstration
    return "sft" if kind == "rating" and model_for(name) == "tiny_sd" else ALGORITHMS[kind]


SHOWN = sorted(set(CASES) - set(READ_BY))
FIRST = {(algorithm_for(name), model_for(name)): name for name in reversed(SHOWN)}.values()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FIRST else pytest.mark.slow) for name in SHOWN]
)
def test_the_row_of_a_data_set_is_shown_as_it_would_be_trained_on(name, tmp_path, capsys):
    cfg = compose(command(name, tmp_path), "check")
    unwritten = media_of(name)[1] & {"audio", "video"} if model_for(name) == "tiny_sd" else set()
    if unwritten:  # no model that writes them alone is built offline: refused, as training would be
        with pytest.raises(
            ValueError, match=f"row 0 is answered with {unwritten.pop()}, and this model draws exactly one"
        ):
            main.__wrapped__(cfg)
        return
    main.__wrapped__(cfg)
    shown = capsys.readouterr().out
    assert " rows train, 0 are held out, 0 are left out" in shown
    for response in CASES[name].responses if model_for(name) != "tiny_sd" and name != "ultrafeedback" else []:
        words = re.sub(r"\[[^]]*\]", " ", response).split()  # what stands in brackets is a medium
        assert all(word in shown for word in words)


def test_prompts_alone_are_refused_by_an_algorithm_that_needs_answers(tmp_path):
    given = [word for word in command("math_zero_rl", tmp_path) if not word.startswith("algo=")]
    with pytest.raises(ValueError, match="learns from demonstration rows, and the data set has prompt rows only"):
        main.__wrapped__(compose([*given, "algo=sft"], "check"))
