"""The policy as the judge of its own responses: what it is asked, and what its words are worth."""

import pytest

from aa_lightning.assembly.rewards import build_rewards
from aa_lightning.configuration.compose import compose
from aa_lightning.rewards.reward import RewardFault
from aa_lightning.types import Prompt, text

RESPONSES = [[[text("Red.")], [text("Blue.")]]]


def built(*overrides):
    return build_rewards(compose(["algo=online_dpo", "modality=t2t", "reward=self_judge", *overrides]))


def prompt(*media):
    return Prompt(id="row-7", messages=[{"role": "user", "content": [*media, text("Which colour?")]}])


class Policy:
    """Says of each response what it was told to, one after another."""

    def __init__(self, *said):
        self.said, self.asked = said, []

    def __call__(self, prompts, n, sampling):
        self.asked.append((prompts, n, sampling))
        return [[[text(words)] for words in several] for several in self.said[: len(prompts)]]


def test_the_mean_of_the_grades_that_can_be_read_is_the_reward():
    """4 and 3 of 5 points, and words without a grade: 0.7. Of several grades in the same words the last one counts."""
    policy = Policy(["Good. Score: 4", "Well, Score: 1, no: score: 3.0", "Hm."], ["Score: 0", "Score: 9", "Score: 1"])
    found = built("reward.self_judge.times=3")([prompt()], RESPONSES, ask=policy)["self_judge"]
    assert found[0].tolist() == pytest.approx([0.7, 0.1])
    ((prompts, n, sampling),) = policy.asked
    assert [one.id for one in prompts] == ["row-7/0", "row-7/1"] and n == 3
    assert (sampling.max_new_tokens, sampling.temperature) == (128, 0.7)
    words = prompts[1].messages[0]["content"][0]["text"]
    assert "Prompt:\nWhich colour?" in words and "Response:\nBlue." in words


def test_what_a_prompt_shows_is_shown_to_its_judge():
    picture = {"type": "image", "image": "a picture", "column": "image"}
    policy = Policy(["Score: 1"], ["Score: 2"])
    built()([prompt(picture)], RESPONSES, ask=policy)
    assert [one.messages[0]["content"][1:] for one in policy.asked[0][0]] == [[picture]] * 2


def test_words_without_a_grade_are_a_fault_or_the_reward_that_is_typed():
    said = ["Score: 5"], ["I cannot say."]
    with pytest.raises(RewardFault, match="the policy gave no grade, but said I cannot say"):
        built("reward.self_judge.on_fault=error")([prompt()], RESPONSES, ask=Policy(*said))
    left_out = built()([prompt()], RESPONSES, ask=Policy(*said))["self_judge"]
    assert left_out.isnan().all()
    found = built("reward.self_judge.unread=0.25")([prompt()], RESPONSES, ask=Policy(*said))["self_judge"]
    assert found.tolist() == [[1.0, 0.25]]


def test_where_no_policy_can_be_asked_the_reward_says_so():
    with pytest.raises(RewardFault, match="type apart=false, or reward=judge"):
        built("reward.self_judge.on_fault=error")([prompt()], RESPONSES)
