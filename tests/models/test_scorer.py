"""What reward models read: the last token, ends of steps, several heads, and the words of a critique."""

import copy

import pytest
import torch
from hydra.utils import instantiate

from aa_lightning.assembly.options import options_of
from aa_lightning.configuration.compose import compose
from aa_lightning.models.load import load_encoder, load_policy, load_scorer
from aa_lightning.models.token.encoder import Limits
from aa_lightning.training.datamodule import EncodedExamples, Wanted
from aa_lightning.types import Feedback, Rating, text

QUESTION = [{"role": "user", "content": [text("How many shapes are there?")]}]
STEPS = [text("There is a red circle.\n"), text("There is a blue square.\n"), text("There are two shapes.")]


@pytest.fixture(scope="module")
def options():
    return options_of(compose(["modality=t2t", "model=tiny_qwen2", "algo=reward_model", "init=null"]), "model")


def stepwise(*labels: tuple[bool, ...]) -> list[Rating]:
    """Ratings of as many steps as there are labels."""
    return [
        Rating(id=str(i), messages=QUESTION, response=STEPS[: len(right)], desirable=all(right), steps=right)
        for i, right in enumerate(labels)
    ]


def collated(examples, encoder, *wants: str):
    rows = EncodedExamples(examples, encoder, wanted=Wanted(wants))
    return rows.collate([rows[i] for i in range(len(rows))])


def test_the_ends_of_steps_are_the_last_tokens_of_their_words(options):
    encoder = load_encoder(options, Limits())
    batch = collated(stepwise((True, False, True)), encoder, "steps")
    tokens, ends = batch.response["input_ids"][0, 0], batch.supervision["step_ends"][0, 0].tolist()
    read = [encoder.tokenizer.decode(tokens[: end + 1]) for end in ends]
    whole = "".join(part["text"] for part in STEPS)
    assert [said.rstrip("\n") for said in read] == [
        whole[: whole.index(word) + len(word)] for word in ("circle.", "square.", "shapes.")
    ]
    assert tokens[ends[-1] + 1] == encoder.end


def test_steps_that_were_cut_off_have_no_label(options):
    whole = load_encoder(options, Limits())
    ends = whole.part_ends(stepwise((True,))[0], STEPS)
    cut = load_encoder(options, Limits(response=ends[1] + 1, overlong="truncate"))
    batch = collated(stepwise((True, False, True), (True,)), cut, "steps")
    assert batch.supervision["steps"][:, 0].tolist() == [[1.0, 0.0], [1.0, pytest.approx(float("nan"), nan_ok=True)]]
    assert batch.response["input_ids"].shape[-1] == ends[1] + 1


def test_a_step_is_scored_as_if_the_response_ended_there(options):
    """A causal model's state at the last token of step 2 does not know of step 3."""
    scorer = load_scorer(options, Limits()).eval()
    long, short = (collated(stepwise(right), scorer.encoder, "steps") for right in ((True,) * 3, (True,) * 2))
    with torch.no_grad():
        three, two = (scorer.score_steps(b, b.supervision["step_ends"])[0, 0] for b in (long, short))
    assert torch.allclose(three[0], two[0], atol=1e-6)
    assert not torch.allclose(three[0], three[1], atol=1e-4)


def test_training_on_steps_tells_right_from_wrong_ones(options):
    """Steps that name a circle are right, those that name a square are wrong."""
    scorer = load_scorer(options, Limits()).train()
    prm = instantiate(compose(["modality=t2t", "model=tiny_qwen2", "algo=prm"]).algo, _convert_="all")
    batch = collated(stepwise((True, False), (True, False, True), (True,)), scorer.encoder, "steps")
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=3e-3)
    seen = []
    for _ in range(30):
        loss, metrics = prm(scorer, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append((loss.item(), metrics["reward/accuracy"].item()))
    assert seen[0][0] == pytest.approx(0.69, abs=0.2)
    assert seen[-1][0] < 0.1 and seen[-1][1] == 1.0


def test_the_reward_of_several_heads_is_their_mean_and_they_are_saved(options, tmp_path):
    scorer = load_scorer(options, Limits(), heads=3).eval()
    batch = collated(stepwise((True, True), (True,)), scorer.encoder)
    with torch.no_grad():
        each, mean = scorer.score_criteria(batch), scorer.score(batch)
    assert each.shape == (2, 1, 3)
    assert torch.allclose(each.mean(-1), mean)
    assert each.std(-1).min() > 0
    scorer.save(tmp_path)
    saved = copy.copy(options)
    saved.path = str(tmp_path)
    again = load_scorer(saved, Limits(), heads=3).eval()
    with torch.no_grad():
        assert torch.equal(again.score_criteria(batch), each)
    with pytest.raises(ValueError, match="gives 3 scores per response, and algo needs 1: type init="):
        load_scorer(saved, Limits())


# ---------------------------------------------------------------- critiques


def criticised(*critiques: tuple[str | None, str | None]) -> list[Feedback]:
    return [
        Feedback(
            id=str(i), messages=QUESTION, chosen=[text("Two.")], rejected=[text("There are three shapes.")], critique=c
        )
        for i, c in enumerate(critiques)
    ]


def test_the_words_of_a_critique_stand_behind_the_answer_and_are_marked(options):
    encoder = load_encoder(options, Limits())
    batch = collated(criticised(("Correct: two.", "There are two shapes."), (None, "No.")), encoder, "critique")
    ids, mask, told = batch.response["input_ids"], batch.response["mask"], batch.supervision["critique"]
    read = [
        [encoder.tokenizer.decode(i[t.bool()], skip_special_tokens=True) for i, t in zip(*row, strict=True)]
        for row in zip(ids, told, strict=True)
    ]
    assert read == [["Correct: two.", "There are two shapes."], ["", "No."]]
    before = (mask - told).bool()
    assert encoder.tokenizer.decode(ids[0, 1][before[0, 1]], skip_special_tokens=True) == "There are three shapes."
    assert (told <= mask).all()


@pytest.mark.parametrize(("model", "modality"), [("tiny_qwen2", "t2t"), ("tiny_janus", "ti2ti")])
def test_critiques_are_read_with_the_probabilities_that_the_policy_gives_them(model, modality):
    """Janus gives words theirs among words, and codes of pictures among codes."""
    composed = compose([f"modality={modality}", f"model={model}", "algo=reward_model", "init=null"])
    options = options_of(composed, "model")
    policy = load_policy(options, Limits(), reference=False).eval()
    scorer = load_scorer(options, Limits(), speaks=16).eval()
    batch = collated(criticised(("Correct: two.", "There are two shapes."), (None, "No.")), policy.encoder, "critique")
    told = batch.supervision["critique"]
    with torch.no_grad():
        rewards, said = scorer.score_and_speak(batch, told)
        whole = policy.log_likelihood(batch)
        assert torch.allclose(rewards, scorer.score_criteria(batch)[..., 0], atol=1e-6)
    assert torch.allclose(said.terms, whole.terms * told, atol=1e-5)
    assert said.total[1, 0].item() == 0.0  # nothing is said about it


def test_only_a_model_that_speaks_trains_the_head_of_tokens(options):
    for speaks in (16, 0):
        scorer = load_scorer(options, Limits(), speaks=speaks)
        model = scorer.network.network.model
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        assert model.get_output_embeddings().weight.requires_grad == (bool(speaks) or tied)


def test_the_trained_model_writes_a_critique_and_scores_what_stands_after_it(options):
    """After 60 steps on one question the critiques are written as they were taught, and the answers ranked."""
    scorer = load_scorer(options, Limits(), speaks=16).train()
    train = instantiate(compose(["modality=t2t", "model=tiny_qwen2", "algo=reward_critique"]).algo, _convert_="all")
    rows = criticised(("Correct: two.", "There are two shapes."))
    batch, bare = collated(rows, scorer.encoder, "critique"), collated(rows, scorer.encoder)
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=3e-3)
    for _ in range(60):
        loss, _ = train(scorer, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scorer.eval()
    with torch.no_grad():
        written, taught = scorer.criticised(bare).response, batch.response
        assert torch.equal(written["input_ids"], taught["input_ids"])
        assert torch.equal(written["mask"], taught["mask"])
        rewards = scorer.score(bare)
        assert torch.allclose(rewards, scorer.score_criteria(batch)[..., 0], atol=1e-6)
    assert rewards[0, 0] > rewards[0, 1] + 1
