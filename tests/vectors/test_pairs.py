"""Which of several answers are learnt from, and K-way objectives, against worked numbers."""

import math
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.data.corruption.transforms import TRANSFORMS, diffusion
from aa_lightning.data.template import functions, selection
from aa_lightning.media.video import Clip
from aa_lightning.types import LogLikelihood
from tests.vectors.support import GivenTerms, algorithm, assert_close, empty_batch, vector, vectors

each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def test_the_best_and_the_worst_of_n_are_the_worked_ones_and_the_first_of_equals_wins():
    case = vector("pairs", "best_of_n", "select")
    expected = case["expected"]["chosen_index"], case["expected"]["rejected_index"]
    assert selection.best_of_n(case["inputs"]["scores"]) == expected == (1, 0)
    assert selection.best_of_n([0.5, 0.1, 0.1]) == (0, 1)


def test_pictures_fade_into_noise_along_the_worked_schedule():
    case = vector("pairs", "diffusion_noise_image", "povid_vcd_schedule")
    made = [diffusion(step) for step in case["inputs"]["steps"]]
    for column, name in enumerate(("sqrt_alpha_bar", "sqrt_one_minus_alpha_bar")):
        assert [one[column] for one in made] == pytest.approx(case["expected"][name], abs=1e-10)


def test_a_grey_picture_at_step_250_keeps_its_mean_and_has_the_noise_of_the_schedule():
    """Grey 128 becomes 0.98913 · 128 = 126.6, with noise of 0.14702 · 255 = 37.5 levels, hardly clipped."""
    picture = Image.new("RGB", (96, 96), (128, 128, 128))
    options = CorruptionOptions(name="diffuse", step=250)
    one, two = (np.asarray(TRANSFORMS["image"]["diffuse"](picture, options, Random(7)), float) for _ in range(2))
    assert one.mean() == pytest.approx(126.6, abs=1) and one.std() == pytest.approx(37.5, rel=0.02)
    assert np.array_equal(one, two)
    clip = Clip(frames=np.full((3, 32, 32, 3), 128, np.uint8), times=np.arange(3.0), sound=None)
    seen = TRANSFORMS["video"]["diffuse"](clip, options, Random(7)).frames.astype(float)
    assert seen.std() == pytest.approx(37.5, rel=0.05) and not np.array_equal(seen[0], seen[1])


def test_a_ranking_by_similarity_takes_the_worked_pair():
    case = vector("multimodal", "clip_dpo_ranking", "argmax_argmin")
    names = case["inputs"]["order"]
    best, worst = selection.best_of_n([case["inputs"]["clip_scores"][name] for name in names])
    assert (names[best], names[worst]) == (case["expected"]["chosen"], case["expected"]["rejected"])


def test_rejection_sampling_accepts_with_the_worked_probabilities():
    case = vector("pairs", "rejection_sampling_rso", "accept_prob")
    chances = selection.accept_probabilities(case["inputs"]["rewards"], case["params"]["beta"])
    assert chances == pytest.approx(case["expected"]["accept_prob"], abs=1e-10)


def test_what_rejection_sampling_keeps_has_these_frequencies():
    scores, drawn = [1.0, 0.2, 0.8, -0.5], Random(0)
    kept = [selection.rejection_sampling(scores, 0.5, drawn) for _ in range(4000)]
    shares = [sum(i in one for one in kept) / len(kept) for i in range(4)]
    assert shares == pytest.approx(selection.accept_probabilities(scores, 0.5), abs=0.03)
    assert shares[0] == 1.0


def test_the_calibrated_self_reward_is_the_worked_one_and_a_column_of_templates():
    case = vector("multimodal", "csr_reward", "lambda0.9")
    said, seen, weight = case["inputs"]["lm_score"], case["inputs"]["clip_score"], case["params"]["lambda"]
    assert selection.csr_reward(said, seen, weight) == pytest.approx(case["expected"]["response_score"], abs=1e-10)
    each = [selection.csr_reward([s], [c], weight) for s, c in zip(said, seen, strict=True)]
    assert each == pytest.approx(case["expected"]["per_sentence"], abs=1e-10)
    column = functions.find("self_rewards")([said, [-1.0]], [seen, [0.5]], weight=weight)
    assert column["rewards"] == pytest.approx([0.322, 0.35])


@pytest.mark.parametrize(("published", "worked"), [("info_nca", "infonca"), ("nca_ranked", "nca")])
@each_precision
def test_rankings_of_four_have_the_worked_value_and_gradient(published, worked, dtype):
    ((_, case),) = vectors("preference", worked)
    ratio = torch.tensor(case["inputs"]["logratios"], dtype=dtype, requires_grad=True)
    ones = torch.ones(1, 4, 1, dtype=dtype)
    policy = GivenTerms(LogLikelihood(ratio[None, :, None], ones), LogLikelihood(0 * ones, ones))
    scores = torch.tensor([case["inputs"]["rewards"]], dtype=dtype)
    loss, metrics = algorithm(published, **case["params"])(policy, empty_batch(1, supervision={"scores": scores}))
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    assert_close(ratio.grad, case["gradients"]["logratios"], dtype)
    assert_close(metrics["reward/margin"], 0.5 * (0.4 + 0.8), dtype)


def weighted(rows: list[list[float]], scores: list[float], dtype=torch.float64, **options):
    """Loss and leaf of one prompt whose responses have two tokens each."""
    terms = torch.tensor([rows], dtype=dtype, requires_grad=True)
    policy = GivenTerms(LogLikelihood(terms, torch.ones_like(terms)))
    batch = empty_batch(1, supervision={"scores": torch.tensor([scores])})
    loss, metrics = algorithm("reward_weighted_sft", **options)(policy, batch)
    loss.backward()
    return loss.item(), terms.grad[0], metrics


def test_responses_are_imitated_by_the_softmax_of_their_scores():
    """Mean log-likelihoods −1 and −3; scores log 3 and 0 weigh them 3/4 and 1/4: the loss is 0.75 + 0.75."""
    loss, gradient, metrics = weighted([[-0.5, -1.5], [-2.0, -4.0]], [math.log(3), 0.0])
    assert loss == pytest.approx(1.5)
    assert gradient.tolist() == [pytest.approx([-0.375] * 2), pytest.approx([-0.125] * 2)]
    assert metrics["weight/best"].item() == pytest.approx(0.75)


def test_exponential_weights_compare_with_the_mean_score_and_are_capped():
    """Scores 2 and 0, mean 1: weights e/2 and e⁻¹/2; capped at 2: 1 and e⁻¹/2."""
    rows, scores = [[-0.5, -1.5], [-2.0, -4.0]], [2.0, 0.0]
    loss, *_ = weighted(rows, scores, weighting="exponential")
    assert loss == pytest.approx((math.e + 3 / math.e) / 2)
    loss, *_ = weighted(rows, scores, weighting="exponential", cap=2.0)
    assert loss == pytest.approx(1 + 3 / math.e / 2)
