"""A run goes on with the rows that it began with, or is refused by name before anything is built."""

import copy
import functools

import pytest
from omegaconf import OmegaConf

from aa_lightning.configuration.compose import compose
from aa_lightning.runs.resume_check import check_same_run
from aa_lightning.train import train
from tests.reliability.support import TINY

PARTS = "data.parts={seen:{data:shapes_ti2t,weight:1,limit:8},told:{data:shapes_t2t,weight:1,limit:8}}"
FORMS = {
    "pictures": ["data=shapes_ti2t"],
    "mixed": ["data=mixture", PARTS],
    "file": ["data=local", "data.train.path=here/rows.jsonl"],
}


@functools.cache
def _composed(form):
    return OmegaConf.to_container(compose(FORMS[form]), resolve=True)


def config(form, **changes):
    """A resolved configuration, with other values of `data` by dotted key; `...` takes the key out."""
    made = copy.deepcopy(_composed(form))
    for path, value in changes.items():
        *parents, last = path.split("__")
        holder = functools.reduce(lambda at, key: at[key], parents, made["data"])
        if value is ...:
            del holder[last]
        else:
            holder[last] = value
    return made


@pytest.mark.parametrize(
    ("before", "changes", "says"),
    [
        ("mixed", {"parts__told": ...}, "data.parts.told={.* with data.parts.told=nothing: type"),
        ("mixed", {"parts__new": {"weight": 1, "data": {}}}, "data.parts.new=nothing and .* with data.parts.new={"),
        ("mixed", {"parts__seen__weight": 2}, "data.parts.seen.weight=1 and .*data.parts.seen.weight=2"),
        ("mixed", {"parts__seen__data__limit": 9}, "data.parts.seen.data.limit=8 and .*limit=9"),
        ("mixed", {"temperature": 2.0}, "data.temperature=null and .*data.temperature=2.0"),
        (
            "mixed",
            {"parts__told__data__train__modality": "tv2t"},
            "data.parts.told.data.train.modality=t2t and .*modality=tv2t",
        ),
        ("pictures", {"train__seed": 1}, "data.train.seed=0 and .*data.train.seed=1"),
        ("pictures", {"corruption": "blank"}, "data.corruption=null and .*data.corruption=blank"),
        ("pictures", {"template__margin": ...}, r"data.template.margin=\[.* with data.template.margin=nothing"),
        ("file", {"train__path": "here/more.jsonl"}, "data.train.path=here/rows.jsonl and .*path=here/more.jsonl"),
    ],
)
def test_a_run_is_not_continued_on_other_rows(before, changes, says):
    with pytest.raises(ValueError, match=f"the run was made with {says}") as refused:
        check_same_run(config(before), config(before, **changes))
    assert "type resume=<run folder> without other model, algorithm, optimizer and data settings, or init=" in str(
        refused.value
    )


def test_a_mixture_is_no_single_data_set_and_the_other_way_round():
    with pytest.raises(ValueError, match="data.parts={.* with data.parts=nothing"):
        check_same_run(config("mixed"), config("pictures"))
    with pytest.raises(ValueError, match="data.train={.* with data.train=nothing"):
        check_same_run(config("pictures"), config("mixed"))


def test_what_changes_no_row_may_change_and_so_may_the_place_of_a_file():
    check_same_run(
        config("file"), config("file", train__path="/elsewhere/rows.jsonl", train__root="/media", verify_media=True)
    )
    check_same_run(config("mixed"), config("mixed", parts__seen__data__val__size=3))


def test_a_run_of_an_earlier_version_without_a_newer_key_is_continued():
    check_same_run(config("pictures", multi_row=..., templates=...), config("pictures"))


def test_the_command_refuses_before_anything_is_built(tmp_path):
    """The run was stopped before its first checkpoint: there is nothing but its configuration."""
    short = [word for word in TINY if not word.startswith("data.")]
    OmegaConf.save(compose([*short, "data=mixture", PARTS]), tmp_path / "config.yaml", resolve=True)
    other = PARTS.replace("told:", "said:")
    with pytest.raises(ValueError, match="data.parts.told={.* with data.parts.told=nothing"):
        train(compose([*short, "data=mixture", other, f"resume={tmp_path}"]), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml"}
