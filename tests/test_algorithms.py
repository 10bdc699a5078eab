"""What all algorithms share: short files, names of metrics, memory of their own, and a page that tells them."""

import math
import runpy
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

import aa_lightning
from aa_lightning.algos.metrics import NAMES, correlation, of_ratings
from aa_lightning.algos.pairwise_losses import Ipo
from aa_lightning.algos.step import Step
from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options, read_examples, wanted_of
from aa_lightning.assembly.policy import build_algorithm
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.typed import with_parts_added
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.training.datamodule import EncodedExamples, refined
from aa_lightning.types import Batch, Feedback, LogLikelihood, text
from tests.contract.support import config, make
from tests.vectors.support import algorithm, empty_batch

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8")
FILES = sorted((Path(aa_lightning.__file__).parent / "algos").glob("*.py"))


class Counting:
    """A policy with given log-likelihoods (P, 2) that counts how often it is read."""

    likelihood = "exact"

    def __init__(self, ours: torch.Tensor, theirs: torch.Tensor):
        self.ours, self.theirs, self.read = ours, theirs, 0

    def log_likelihood(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        self.read += 1
        return LogLikelihood(self.ours[..., None], torch.ones_like(self.ours)[..., None])

    @contextmanager
    def as_reference(self):
        yield Counting(self.theirs, self.theirs)


def zeros(of) -> dict[str, torch.Tensor]:
    return {name: torch.zeros((), dtype=torch.float64) for name in of.remembers}


def part(name: str, **options) -> dict:
    """A part of a mixture, as it stands in a file."""
    found = algorithm(name, **options)
    return {"_target_": f"{type(found).__module__}.{type(found).__name__}", **asdict(found)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_of_algorithms_is_longer_than_200_lines(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 200


def test_two_running_means_of_a_mixture_are_two():
    """u = (2, −1): the part of beta 1 has rewards of mean 0.5, the part of beta 10 has 5; one memory for both would hold
    2.75 in the end."""
    parts = {"soft": part("bco_pair", beta=1.0), "hard": part("bco_pair", beta=10.0)}
    mixed = algorithm("mpo", objectives=parts, weights={"soft": 1.0, "hard": 1.0})
    ours = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    policy, memory = Counting(ours, 0 * ours), zeros(mixed)
    loss, _ = mixed(policy, empty_batch(1), Step(memory=memory))
    means = {name: (memory[f"{name}/reward_sum"] / memory[f"{name}/reward_count"]).item() for name in parts}
    assert means == {"soft": 0.5, "hard": 5.0}
    alone = []
    for settings in parts.values():
        single = algorithm("bco_pair", beta=settings["beta"])
        alone.append(single(Counting(ours, 0 * ours), empty_batch(1), Step(memory=zeros(single)))[0])
    assert loss.item() == pytest.approx(sum(alone).item())
    assert policy.read == 1


def test_a_part_of_a_mixture_cannot_move_the_reference_of_all():
    parts = {"given": part("tr_dpo"), "own": part("dpo")}
    mixed = algorithm("mpo", objectives=parts, weights={"given": 1.0, "own": 1.0})
    with pytest.raises(ValueError, match=r"type algo\.objectives\.given\.ref_sync=null, or algo=tr_dpo"):
        _ = mixed.ref_sync


def test_noise_of_a_part_of_a_mixture_would_reach_the_others():
    parts = {"noisy": part("neftune"), "pairs": part("dpo")}
    mixed = algorithm("mpo", objectives=parts, weights={"noisy": 1.0, "pairs": 1.0})
    with pytest.raises(ValueError, match=r"type algo\.objectives\.noisy\.noise=0, or algo=neftune"):
        check_compatible(config("tiny_qwen2", "mpo"), mixed, data_options(config("tiny_qwen2", "mpo")))


def test_the_table_of_the_page_is_that_of_the_files(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    generate = runpy.run_path(str(ROOT / "docs" / "generate_algorithms.py"))
    assert generate["page"](PAGE) == PAGE, "type: make docs"
    assert PAGE.count("\n| `") > 60


def test_the_page_says_what_each_metric_means():
    assert {name for name in NAMES if f"`{name}`" not in PAGE} == set()


def test_margins_that_are_lengths_correlate_with_them_and_equal_lengths_do_not():
    """Margins (1, 2, 3, 4) with differences (2, 4, 6, 8), (8, 6, 4, 2), (1, −1, −1, 1) and (5, 5, 5, 5). Three rows are too
    few to tell."""
    margins, lengths = torch.tensor([1.0, 2.0, 3.0, 4.0]), ([2, 4, 6, 8], [8, 6, 4, 2], [1, -1, -1, 1], [5, 5, 5, 5])
    found = [correlation(margins, torch.tensor(differences)).item() for differences in lengths]
    assert found == pytest.approx([1.0, -1.0, 0.0, 0.0], abs=1e-6)
    assert correlation(margins[:3], torch.tensor([2, 4, 6])).item() == 0.0


def test_the_divergence_is_the_mean_log_ratio_of_all_responses():
    """log π − log π_ref = (2, −1) and (0.5, 0.5), over totals and whatever the loss compares."""
    ours, theirs = torch.tensor([[2.0, -1.0], [1.0, 1.5]]), torch.tensor([[0.0, 0.0], [0.5, 1.0]])
    for name in ("dpo", "ipo", "f_dpo_forward_kl"):
        _, metrics = algorithm(name)(Counting(ours, theirs), empty_batch(2))
        assert metrics["kl"].item() == pytest.approx(0.5)
    _, metrics = algorithm("simpo")(Counting(ours, theirs), empty_batch(2))
    assert "kl" not in metrics  # which has no reference


def test_rated_responses_have_a_margin_only_where_a_batch_has_both_kinds():
    """Right ones have rewards 3 and 1, the wrong one −1: 2 − (−1) = 3."""
    rewards, right = torch.tensor([[3.0], [1.0], [-1.0]]), torch.tensor([[True], [True], [False]])
    assert of_ratings(rewards, right)["reward/margin"].item() == 3.0
    assert of_ratings(rewards[:2], right[:2])["reward/margin"].item() == 0.0


def feedback(number: int, refinement) -> Feedback:
    asked = [{"role": "user", "content": [text("What colour?")]}]
    return Feedback(
        id=str(number), messages=asked, chosen=[text("Red.")], rejected=[text("Blue.")], refinement=refinement
    )


def test_the_refined_response_of_the_rejected_one_goes_first_and_a_row_without_any_is_named():
    one, two = [text("It is red.")], [text("It is dark red.")]
    assert [refined(feedback(1, given)) for given in ((one, two), (one, None), (None, two))] == [two, one, two]
    with pytest.raises(ValueError, match="row 7 has no refined response"):
        refined(feedback(7, (None, None)))


def test_data_without_refinements_is_refused_before_anything_loads():
    cfg = compose(["algo=triple_po", "modality=ti2t", "++data.template.feedback.refinement=null"])
    with pytest.raises(ValueError, match=r"needs a refined response.*name their columns in data\.template\.feedback"):
        check_compatible(cfg, algorithm("triple_po"), data_options(cfg))


def test_a_batch_brings_the_refined_responses_beside_its_pairs():
    triple, policy, cfg = make("tiny_qwen2", "triple_po")
    rows = read_examples(data_options(cfg), "val", triple.supervision)[:2]
    encoded = EncodedExamples(rows, policy.encoder, wanted=wanted_of(triple))
    batch = encoded.collate([encoded[0], encoded[1]])
    gold = batch.branches["gold"].response
    assert gold["input_ids"].shape[:2] == (2, 1) and batch.response["input_ids"].shape[:2] == (2, 2)
    tokens = zip(gold["input_ids"][:, 0], gold["mask"][:, 0], strict=True)
    assert [policy.encoder.decode(ids[mask.bool()]) for ids, mask in tokens] == [row.refinement[1] for row in rows]
    loss, metrics = triple(policy, batch)
    nll = -policy.log_likelihood(batch.branches["gold"]).total.sum() / gold["mask"].sum()
    assert metrics["loss/gold"].item() == pytest.approx(nll.item(), rel=1e-5)
    assert loss.item() == pytest.approx((metrics["loss/preference"] + metrics["loss/gold"]).item())


@pytest.mark.parametrize("family", ["chameleon", "emu3"])
def test_pictures_that_are_read_as_tokens_cannot_be_moved_against_an_answer(family):
    cfg = config(f"tiny_{family}", "adpo")
    with pytest.raises(
        ValueError, match=rf"model\.family={family} reads them as tokens .* type a model that sees pixels"
    ):
        check_compatible(cfg, algorithm("adpo"), data_options(cfg))
    check_compatible(config("tiny_janus", "adpo"), algorithm("adpo"), data_options(cfg))


class Reading(Counting):
    """Also offers its log-likelihoods with a divergence."""

    def log_likelihood(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        plain = super().log_likelihood(batch)
        return LogLikelihood(plain.terms, plain.mask, torch.tensor([[[0.5], [0.25]]]) if statistic else None)

    @contextmanager
    def as_reference(self):
        yield Reading(self.theirs, self.theirs)


def test_token_level_dpo_reads_the_policy_once():
    """u = (2, −1), KL (0.5, 0.25), beta 0.1: z = 0.1 (3 − (0.25 − 0.5)) = 0.325."""
    policy = Reading(torch.tensor([[2.0, -1.0]]), torch.zeros(1, 2))
    loss, _ = algorithm("tdpo1")(policy, empty_batch(1))
    assert policy.read == 1
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.325)))


def test_one_number_of_whole_distributions_comes_with_the_likelihoods():
    cap = {"name": "on_policy", "cap": 1.0}
    with pytest.raises(
        Exception, match="algo.target_margin=divergence and algo.weight=on_policy read different numbers"
    ):
        algorithm("tdpo1", weight=cap)
    view = {"name": "prompts", "corruption": {"name": "blank"}}
    with pytest.raises(Exception, match=r"type algo\.weight=null, or 'algo\.comparison=\{name: responses\}'"):
        algorithm("wpo", comparison=view)


def test_the_fading_noise_of_povid_is_one_word_as_the_page_says():
    typed = "algo.objectives.self_generated.comparison.corruption.name=diffuse"
    assert f"`{typed}`" in PAGE
    cfg = compose(["algo=povid", "modality=ti2t", typed])
    wanted = instantiate(cfg.algo, _convert_="all").corruption
    assert (wanted.name, wanted.step) == ("diffuse", 500)


def test_a_part_without_options_is_chosen_by_its_name_alone():
    assert build_algorithm(compose(["algo.loss=ipo"])).loss == Ipo(name="ipo")


def test_a_part_whose_options_are_missing_says_how_to_type_them():
    with pytest.raises(ConfigError, match=r"type: 'algo.loss=\{name:hinge,target:"):
        compose(["algo.loss=hinge"])


def test_a_part_of_another_name_takes_the_place_of_the_one_before():
    """What the error of a part with missing options says can be typed."""
    typed = compose(["++algo.loss={name:hinge,target:2.0}"]).algo.loss
    assert typed == {"name": "hinge", "target": 2.0}
    plain = ["algo.beta=2", "algo.loss={name:hinge,target:2.0}", "algo.loss=ipo"]
    assert with_parts_added(plain) == [plain[0], f"++{plain[1]}", plain[2]]
    gate = compose(["algo=grpo", "++algo.surrogate={name:soft_gate,positive:1.0,negative:1.05}"]).algo.surrogate
    assert gate == {"name": "soft_gate", "positive": 1.0, "negative": 1.05}
    same = compose(["algo=grpo", "algo.surrogate={name:clip,high:0.3}"]).algo.surrogate
    assert (same.low, same.high) == (0.2, 0.3)
    with pytest.raises(
        ConfigError, match=r"algo\.surrogate\.ratio=action cannot be used: .*soft_gate has no such option"
    ):
        compose(["algo=grpo", "++algo.surrogate={name:soft_gate,positive:1.0,negative:1.05,ratio:action}"])
