"""Questions are asked in batches of similar length; answers stand in a file that a stopped run goes on with."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aa_lightning.benchmarks.asking import Asking, ask
from aa_lightning.benchmarks.kept import KeptAnswers
from aa_lightning.benchmarks.questions import Questions
from aa_lightning.benchmarks.results import result
from aa_lightning.data.errors import BadRow
from aa_lightning.types import text
from tests.questions.support import options, questions


class Killed(Exception):
    pass


class Parrot(nn.Module):
    """Says the length of each prompt, and remembers which batches it was given."""

    def __init__(self, batches_to_live=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.encoder = SimpleNamespace(encode=self._encode, length=len, collate=self._collate)
        self.left, self.batches = batches_to_live, []

    @staticmethod
    def _encode(prompt, responses):
        return "".join(part["text"] for message in prompt.messages for part in message["content"] if "text" in part)

    @staticmethod
    def _collate(encoded):
        return SimpleNamespace(to=lambda device: encoded)

    def sample(self, batch, n, sampling):
        assert (n, sampling.temperature, len(sampling.seeds)) == (1, 0.0, len(batch))
        if self.left == 0:
            raise Killed
        self.left = None if self.left is None else self.left - 1
        self.batches.append(list(batch))
        return SimpleNamespace(responses=[[[text(f"length {len(one)}")]] for one in batch])


@pytest.fixture
def found():
    return Questions(options("shapes_t2t", limit=50))


def kept(folder, settings=None, place=0):
    return KeptAnswers(folder, "shapes_t2t", settings or {"model": "parrot"}, place)


def finished(found, store):
    told, rows = result(found, store.read())
    store.finish(rows)
    return told, store.path.read_bytes()


def test_each_question_is_asked_once_beside_those_of_similar_length(tmp_path, found):
    parrot, store = Parrot(), kept(tmp_path)
    ask(parrot, found, store, Asking(batch_size=4))
    sizes = [[len(one) for one in batch] for batch in parrot.batches]
    assert [len(batch) for batch in sizes] == [4] * 12 + [2]
    windows = [[n for batch in sizes[start : start + 4] for n in batch] for start in range(0, len(sizes), 4)]
    assert all(window == sorted(window) for window in windows)
    told, whole = finished(found, store)
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [row["id"] for row in rows] == [str(i) for i in range(50)]  # in the order of the data
    assert set(rows[0]) == {"id", "said", "answer", "extracted", "scores"}
    assert (told["n"], told["n_missing"]) == (50, 0)


@pytest.mark.parametrize("batches", [0, 5, 12])
@pytest.mark.parametrize("torn", [0, 7])
def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_file(tmp_path, found, batches, torn):
    ask(Parrot(), found, kept(tmp_path / "whole"), Asking(batch_size=4))
    whole = finished(found, kept(tmp_path / "whole"))
    with pytest.raises(Killed):
        ask(Parrot(batches), found, kept(tmp_path / "killed"), Asking(batch_size=4))
    file = tmp_path / "killed" / "shapes_t2t.jsonl"
    if torn and batches:  # in the middle of a line
        file.write_bytes(file.read_bytes()[:-torn])
    second = Parrot()
    ask(second, found, kept(tmp_path / "killed"), Asking(batch_size=4))
    assert len(second.batches) == 13 - batches + bool(torn and batches)
    assert finished(found, kept(tmp_path / "killed")) == whole
    third = Parrot()
    ask(third, found, kept(tmp_path / "killed"), Asking(batch_size=4))
    assert third.batches == []


def test_several_processes_give_the_same_file_and_leave_no_other(tmp_path, found):
    ask(Parrot(), found, kept(tmp_path / "one"), Asking(batch_size=4))
    for place in range(3):
        ask(Parrot(), found, kept(tmp_path / "three", place=place), Asking(batch_size=4, place=place, places=3))
    assert len(list((tmp_path / "three").glob("*.jsonl"))) == 3
    # what two processes have answered both, as after a run with another number of them, counts once
    kept(tmp_path / "three", place=1).append([kept(tmp_path / "three").read()["0"]])
    assert finished(found, kept(tmp_path / "three")) == finished(found, kept(tmp_path / "one"))
    assert [file.name for file in (tmp_path / "three").glob("*.jsonl")] == ["shapes_t2t.jsonl"]


def test_answers_under_other_settings_are_refused_with_what_differs(tmp_path, found):
    ask(Parrot(), found, kept(tmp_path), Asking(batch_size=4))
    with pytest.raises(ValueError, match="under another model, .* type hydra.run.dir=<another folder>"):
        kept(tmp_path, {"model": "another"})


def test_rows_that_cannot_be_read_stop_or_are_missing_and_counted(tmp_path):
    (tmp_path / "rows").mkdir()
    found = questions("pope", tmp_path / "rows", on_bad_row="skip")
    (tmp_path / "rows" / "red.png").write_bytes(b"no picture")
    store = KeptAnswers(tmp_path, "pope", {})
    ask(Parrot(), found, store, Asking(batch_size=2))
    with pytest.raises(ValueError, match="no question could be asked"):
        result(found, store.read())
    rows = store.read()
    assert all("missing" in row for row in rows.values()) and len(rows) == 4
    told, _ = result(found, {**rows, "0": {"id": "0", "said": "Yes"}})
    assert (told["n"], told["n_missing"]) == (1, 3)
    stopping = Questions(options("pope", data={"path": str(tmp_path / "rows" / "pope.jsonl")}))
    with pytest.raises(BadRow):
        ask(Parrot(), stopping, KeptAnswers(tmp_path / "other", "pope", {}), Asking(batch_size=2))


def test_a_hostile_answer_changes_its_own_score_alone(tmp_path, found):
    answers = {str(i): {"id": str(i), "said": found.question(i).answer} for i in range(50)}
    answers["3"]["said"] = '\x1b[2J<|im_end|>"}\n{"id": "4", "said": "no"}' + "x" * 1_000_000
    store = kept(tmp_path)
    store.append(answers.values())
    told, whole = finished(found, store)
    assert told["value"] == 49 / 50
    assert len(whole.splitlines()) == 50
