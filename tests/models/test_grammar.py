"""The grammar of drawn pictures, worked by hand on a vocabulary of twelve tokens."""

import torch

from aa_lightning.models.image_tokens.grammar import DRAWN, FORCED, TEXT, Grammar, Restricted
from aa_lightning.models.image_tokens.vq import CODE, Spelling
from aa_lightning.models.token.sampling import FREE

BEGIN, PLACE, SIZE, ROW_END, CLOSE, CODES, WORDS = 1, 2, 3, 4, 5, (6, 7, 8), (9, 10, 11)


class Words:
    """A tokenizer of one letter per token."""

    def __call__(self, text, add_special_tokens):
        return {"input_ids": ["".join("?bpsrc").index(letter) for letter in text]}


def spelling() -> Spelling:
    """begin, size, two codes and a row end for each row, closing."""
    return Spelling(
        begin=BEGIN,
        placeholder=PLACE,
        codes=torch.tensor(CODES),
        row_end=ROW_END,
        others=(SIZE, ROW_END, CLOSE),
        factor=8,
        write=lambda height, width: "bs" + "p" * (height * (width + 1)) + "c",
    )


def grammar(draws: bool = True) -> Grammar:
    return Grammar(spelling(), Words(), size=(2, 2), vocabulary=12, draws=draws)


PICTURE = [BEGIN, SIZE, 6, 7, ROW_END, 8, 6, ROW_END, CLOSE]


def test_a_picture_is_spelled_with_row_ends_in_their_places():
    whole = spelling().whole(Words(), 2, 2).tolist()
    assert whole == [BEGIN, SIZE, CODE, CODE, ROW_END, CODE, CODE, ROW_END, CLOSE]


def test_codes_stand_where_there_is_a_choice_and_text_goes_on_behind_a_picture():
    kinds = grammar().kinds(torch.tensor([[9, *PICTURE, 10, *PICTURE[:4]]]))[0].tolist()
    inside = [FORCED, DRAWN, DRAWN, FORCED, DRAWN, DRAWN, FORCED, FORCED]
    assert kinds == [TEXT, TEXT, *inside, TEXT, TEXT, *inside[:3]]


def test_the_next_token_is_free_or_the_only_one_that_fits():
    rows = torch.tensor([[9, 10, 11], [9, 10, BEGIN], [9, BEGIN, SIZE], [BEGIN, SIZE, 6]])
    banned, must = grammar().next(rows)
    kinds = [grammar().banned(kind, torch.device("cpu")) for kind in (TEXT, DRAWN, DRAWN, DRAWN)]
    assert torch.equal(banned, torch.stack(kinds))
    assert must.tolist() == [FREE, SIZE, FREE, FREE]
    assert torch.equal(grammar().next(torch.empty(2, 0, dtype=torch.long))[0], torch.stack(kinds[:1] * 2))


def test_words_are_banned_in_pictures_and_codes_in_text():
    device = torch.device("cpu")
    assert grammar().banned(TEXT, device).nonzero().flatten().tolist() == [PLACE, SIZE, ROW_END, CLOSE, *CODES]
    assert (~grammar().banned(DRAWN, device)).nonzero().flatten().tolist() == list(CODES)
    assert grammar(draws=False).banned(TEXT, device)[BEGIN]


def test_whole_pictures_are_found_and_their_codes_cut_out():
    tokens = torch.tensor([9, *PICTURE, 10, *PICTURE[:-1]])
    assert grammar().pictures(tokens) == [(1, 10)]
    assert grammar().body(tokens[1:10]).tolist() == [6, 7, ROW_END, 8, 6, ROW_END]


def test_banned_tokens_get_no_probability_and_the_others_share_it():
    """Logits are all 0: nine of twelve banned leave a third for each of three."""
    head = torch.nn.Linear(4, 12, bias=False)
    torch.nn.init.zeros_(head.weight)
    shares = Restricted(head, grammar().banned(DRAWN, torch.device("cpu")))(torch.ones(1, 4)).softmax(-1)[0]
    assert torch.allclose(shares[list(CODES)], torch.full((3,), 1 / 3))
    assert shares.sum() == 1 and (shares > 0).sum() == 3
