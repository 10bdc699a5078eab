"""Rows worked by hand: prompts [1 2 3] and [4], answers ([11], [21 22 23]) and ([31 32], [41]), 0 is padding."""

from dataclasses import replace

import torch

from aa_lightning.models.families.table import FAMILIES
from aa_lightning.models.token import layouts
from aa_lightning.models.token.packed import packed
from aa_lightning.types import Batch

FAMILY = FAMILIES["llama"]


def batch() -> tuple[Batch, torch.Tensor]:
    """The batch, left- and right-padded as the encoder does it, and the positions of its prompts."""
    prompt = torch.tensor([[1, 2, 3], [0, 0, 4]])
    answers = torch.tensor([[[11, 0, 0], [21, 22, 23]], [[31, 32, 0], [41, 0, 0]]])
    made = Batch(
        ids=["a", "b"],
        prompt={"input_ids": prompt, "attention_mask": (prompt > 0).long()},
        response={"input_ids": answers, "mask": (answers > 0).float()},
    )
    return made, ((prompt > 0).cumsum(-1) - 1).clamp(min=0)


def test_plain_rows_start_with_their_prompt_and_are_as_long_as_the_longest_so_that_no_mask_is_needed():
    layout = layouts.plain(batch()[0], FAMILY, batch()[1])
    assert layout.inputs["input_ids"].tolist() == [
        [1, 2, 3, 11, 0, 0],
        [1, 2, 3, 21, 22, 23],
        [4, 31, 32, 0, 0, 0],
        [4, 41, 0, 0, 0, 0],
    ]
    assert layout.inputs["position_ids"][1].tolist() == [0, 1, 2, 3, 4, 5]
    assert layout.inputs["position_ids"][2, :3].tolist() == [0, 1, 2]
    assert (layout.inputs["attention_mask"] == 1).all()


def test_shared_rows_hold_prompt_and_answers_without_padding_between_them():
    """Seven columns, where padded pieces would take 3 + 2 · 3 = 9."""
    layout = layouts.shared(batch()[0], FAMILY, batch()[1])
    assert layout.inputs["input_ids"].tolist() == [[1, 2, 3, 11, 21, 22, 23], [4, 31, 32, 41, 0, 0, 0]]
    assert layout.inputs["position_ids"][0].tolist() == [0, 1, 2, 3, 3, 4, 5]
    assert layout.inputs["position_ids"][1, :4].tolist() == [0, 1, 2, 1]


def test_a_packed_row_holds_all_prompts_and_then_all_answers_and_their_lengths_are_its_mask():
    layout = packed(batch()[0], FAMILY, batch()[1])
    assert layout.inputs["input_ids"].tolist() == [[1, 2, 3, 4, 11, 21, 22, 23, 31, 32, 41]]
    assert layout.inputs["position_ids"].tolist() == [[0, 1, 2, 0, 3, 3, 4, 5, 1, 2, 1]]
    assert layout.inputs["attention_mask"].tolist() == [[[[3, 1, 3], [1, 2, 1]]]]
    assert layout.start.tolist() == [[0, 0], [3, 3]]


def test_a_single_answer_is_a_part_of_its_prompt_in_a_packed_row():
    both, positions = batch()
    alone = replace(both, response={key: value[:, :1] for key, value in both.response.items()})
    layout = packed(alone, FAMILY, positions)
    assert layout.inputs["input_ids"].tolist() == [[1, 2, 3, 11, 4, 31, 32]]
    assert layout.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert layout.inputs["attention_mask"].tolist() == [[[[4], [3]]]]
    assert layout.start.tolist() == [[0], [4]]
    counted = alone.response["mask"].bool()
    assert layout.own[counted].tolist() == [3, 5, 6]
    assert layout.before[counted].tolist() == [2, 4, 5]


def test_a_token_is_found_in_its_own_column_and_predicted_by_the_one_before_it():
    given, positions = batch()
    counted = given.response["mask"].bool()
    for arrange in (layouts.plain, layouts.shared, packed):
        layout = arrange(given, FAMILY, positions)
        rows, ids = layout.rows[counted], layout.inputs["input_ids"]
        assert ids[rows, layout.own[counted]].tolist() == [11, 21, 22, 23, 31, 32, 41]
        assert ids[rows, layout.before[counted]].tolist() == [3, 3, 21, 22, 4, 31, 4]


def test_in_a_shared_row_answers_see_the_prompt_and_themselves_and_not_their_siblings():
    layout = layouts.shared(batch()[0], FAMILY, batch()[1])
    mask, ids = layout.inputs["attention_mask"][:, 0], layout.inputs["input_ids"]
    seen = {
        token: ids[row][mask[row, column]].tolist()
        for row in (0, 1)
        for column, token in enumerate(ids[row].tolist())
        if token
    }
    assert seen[3] == [1, 2, 3]
    assert seen[11] == [1, 2, 3, 11]
    assert seen[22] == [1, 2, 3, 21, 22]
    assert seen[32] == [4, 31, 32]
    assert seen[41] == [4, 41]
    assert mask.any(-1).all()  # padding sees something, or its softmax would have no entry


def test_a_window_counts_tokens_of_the_plain_row_and_not_columns_of_siblings():
    """Window 2: a token sees itself and the one before it; [21] follows the prompt's 3 though 11 stands between."""
    layout = layouts.shared(batch()[0], FAMILY, batch()[1], {"full_attention": None, "sliding_attention": 2})
    ids, masks = layout.inputs["input_ids"], layout.inputs["attention_mask"]
    near = {
        token: ids[0][masks["sliding_attention"][0, 0, column]].tolist() for column, token in enumerate(ids[0].tolist())
    }
    assert near == {1: [1], 2: [1, 2], 3: [2, 3], 11: [3, 11], 21: [3, 21], 22: [21, 22], 23: [22, 23]}
    assert ids[0][masks["full_attention"][0, 0, 6]].tolist() == [1, 2, 3, 21, 22, 23]


def test_tokens_of_a_picture_see_all_of_it_and_nothing_of_the_next_one():
    """[1 2] and [3] are pictures with a text token between them: 9."""
    prompt = torch.tensor([[1, 2, 9, 3]])
    made = Batch(
        ids=["a"],
        prompt={
            "input_ids": prompt,
            "attention_mask": torch.ones_like(prompt),
            "token_type_ids": torch.tensor([[1, 1, 0, 1]]),
        },
        response={"input_ids": torch.tensor([[[11], [21]]]), "mask": torch.ones(1, 2, 1)},
    )
    layout = layouts.shared(made, FAMILIES["gemma3"], torch.arange(4)[None])
    ids, mask = layout.inputs["input_ids"][0], layout.inputs["attention_mask"][0, 0]
    seen = {token: ids[mask[column]].tolist() for column, token in enumerate(ids.tolist())}
    assert seen == {1: [1, 2], 2: [1, 2], 9: [1, 2, 9], 3: [1, 2, 9, 3], 11: [1, 2, 9, 3, 11], 21: [1, 2, 9, 3, 21]}
