"""Linear layers by weights in another layout."""

import pytest
import torch
from torch import nn

from aa_lightning.models.token import few_rows
from aa_lightning.models.token.few_rows import laid_out


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 8, 40])
@torch.no_grad()
def test_copies_of_large_weights_give_the_same_products_and_are_gone_afterwards(bias, rows):
    torch.manual_seed(0)
    large, small = nn.Linear(512, 600, bias=bias), nn.Linear(64, 64)
    given = torch.randn(rows, 1, 512)
    expected = large(given)
    with laid_out([large, small, large], 16):
        assert "forward" in vars(large) and "forward" not in vars(small)
        found = large(given)
        assert found.shape == (rows, 1, 600)
        assert torch.allclose(found, expected, atol=1e-5)
    assert "forward" not in vars(large)
    large.weight.zero_()
    with laid_out([large], 16):  # a copy is of the weights as they are now
        assert torch.allclose(large(given), large.bias.expand_as(found) if bias else torch.zeros_like(found))


def test_nothing_is_copied_for_a_few_calls_in_another_precision_or_over_the_limit(monkeypatch):
    layer, half, other = nn.Linear(512, 512), nn.Linear(512, 512).bfloat16(), nn.Linear(512, 513)
    with laid_out([layer], 15):
        assert "forward" not in vars(layer)
    with laid_out([half], 16), torch.autocast("cpu", torch.bfloat16):
        assert "forward" not in vars(half)
    with torch.autocast("cpu", torch.bfloat16), laid_out([layer], 16):
        assert "forward" not in vars(layer)
    monkeypatch.setattr(few_rows, "_MOST", layer.weight.nbytes)
    with laid_out([layer, other], 16):
        assert "forward" in vars(layer) and "forward" not in vars(other)


def test_layers_are_themselves_again_after_an_error():
    layer = nn.Linear(512, 512)
    with pytest.raises(ZeroDivisionError), laid_out([layer], 16):
        1 / 0  # noqa: B018
    assert "forward" not in vars(layer)
