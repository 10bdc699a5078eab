"""Two-part attention is the attention of each row [prompt | response] alone, in numbers and in gradients."""

import itertools

import pytest
import torch
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention

from aa_lightning.models.token import kernels
from aa_lightning.models.token.packed import order_of, pieces_of
from aa_lightning.models.token.two_part import attention
from tests.contract.support import batch_of, make

LENGTHS = {
    "one response": ((5, 3),),
    "several": ((7, 4, 2, 5), (3, 1, 1, 1)),
    "equal neighbours": ((6, 2, 2), (6, 2, 2), (4, 2, 2)),
    "equal prompts apart": ((6, 2, 2), (4, 3, 3), (6, 2, 2)),
    "nothing said": ((4, 0, 3), (2, 0, 0)),
    "longer than a block of the kernel": ((700, 40), (33, 600)),
}


def columns(lengths: tuple[tuple[int, ...], ...]) -> list[tuple[range, list[range]]]:
    """The columns of each prompt and of its responses."""
    starts = list(itertools.accumulate((row[0] for row in lengths), initial=0))
    found, start = {}, starts[-1]
    for i in order_of(lengths):
        ends = list(itertools.accumulate(lengths[i][1:], initial=start))
        found[i] = range(starts[i], starts[i] + lengths[i][0]), [range(*pair) for pair in itertools.pairwise(ends)]
        start = ends[-1]
    return [found[i] for i in range(len(lengths))]


def alone(query, key, value, lengths, scale):
    """(1, heads, L, D): each response behind its prompt by causal attention over both, with keys repeated for all heads."""
    out = torch.zeros_like(query)
    more = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(more, 1), value.repeat_interleave(more, 1)
    for prompt, responses in columns(lengths):
        for response in ([], *responses):
            row = [*prompt, *response]
            q, k, v = query[:, :, row], key[:, :, row], value[:, :, row]
            out[:, :, row] = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    return out


def drawn(lengths, kv_heads: int):
    """Queries, keys and values of a packed row, and a direction of its output, in float64."""
    draw, total = torch.Generator().manual_seed(0), sum(map(sum, lengths))
    shapes = (4, kv_heads, kv_heads, 4)
    return [torch.randn(1, heads, total, 8, generator=draw, dtype=torch.float64) for heads in shapes]


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_packed_row_reads_as_its_rows_alone(name, kv_heads):
    lengths, scale = LENGTHS[name], 0.3
    *given, direction = drawn(lengths, kv_heads)
    given = [tensor.requires_grad_() for tensor in given]
    found = attention(torch.nn.Module(), *given, torch.tensor(lengths)[None, None], scaling=scale)[0].transpose(1, 2)
    expected = alone(*given, lengths, scale)
    assert torch.allclose(found, expected, atol=1e-12)
    gradients = (torch.autograd.grad((out * direction).sum(), given) for out in (found, expected))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel for graphics cards")
@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_packed_row_on_a_graphics_card_reads_as_on_the_processor(name, kv_heads):
    lengths, mask = LENGTHS[name], torch.tensor(LENGTHS[name])[None, None]
    *given, direction = (tensor.bfloat16() for tensor in drawn(lengths, kv_heads))
    found = []
    for device, dtype in (("cuda", torch.bfloat16), ("cpu", torch.float64)):
        own = [tensor.to(device, dtype).requires_grad_() for tensor in given]
        out = attention(torch.nn.Module(), *own, mask)[0].transpose(1, 2)
        gradients = torch.autograd.grad((out * direction.to(device, dtype)).sum(), own)
        found.append([tensor.cpu().double() for tensor in (out, *gradients)])
    for ours, exact in zip(*found, strict=True):
        assert (ours - exact).norm() <= 2e-2 * exact.norm()


@pytest.mark.parametrize("causal", [True, False])
def test_pieces_come_to_the_kernel_for_graphics_cards_as_rows_and_go_back_as_pieces(monkeypatch, causal):
    """Two pieces, 5 queries each on 5 or 7 keys, 4 heads on 2; in the kernel's place, the processor's for each piece."""

    def pieces(rows, bounds):
        return [rows[a:b].transpose(0, 1)[None] for a, b in itertools.pairwise(bounds.tolist())]

    def joined(found):
        return [torch.cat([one[0].transpose(0, 1) for one in many]) for many in zip(*found, strict=True)]

    def forward(q, k, v, first_q, first_k, max_q, max_k, is_causal, scale, window, grouped):
        assert (max_q, max_k, is_causal, grouped) == (5, 5 if causal else 7, causal, True)
        many = zip(pieces(q, first_q), pieces(k, first_k), pieces(v, first_k), strict=True)
        out, lse = joined([kernels.attend(*one, is_causal, scale) for one in many])
        return out, lse.t().contiguous(), None

    def backward(g, q, k, v, o, lse, first_q, first_k, max_q, max_k, is_causal, state, scale, window):
        queries = [pieces(rows, first_q) for rows in (g, q, o, lse.t())]
        keys = [pieces(rows, first_k) for rows in (k, v)]
        return joined(
            [
                kernels.attend_backward(g, q, k, v, o, n, is_causal, scale)
                for g, q, o, n, k, v in zip(*queries, *keys, strict=True)
            ]
        )

    monkeypatch.setattr(varlen, "_varlen_attn", forward)
    monkeypatch.setattr(varlen, "_varlen_attn_backward", backward)
    q, k, v, g = (torch.randn(2, heads, 5 if causal or heads == 4 else 7, 8) for heads in (4, 2, 2, 4))
    out, lse = kernels.attend(q, k, v, causal, 0.3)
    for ours, theirs in zip(kernels.varlen(q, k, v, causal, 0.3), (out, lse), strict=True):
        assert torch.equal(ours, theirs)
    expected = kernels.attend_backward(g, q, k, v, out, lse, causal, 0.3)
    for ours, theirs in zip(kernels.varlen_backward(g, q, k, v, out, lse, causal, 0.3), expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_is_asked_for_what_is_known_before_it_is_trusted(monkeypatch, capsys, dtype):
    kernels.is_right.cache_clear()
    assert kernels.is_right(torch.device("cpu"), dtype)
    flash, backward = kernels.attend, kernels.attend_backward
    wrong = {
        "attend": lambda *given: (flash(*given)[0], 1.05 * flash(*given)[1]),
        "attend_backward": lambda g, q, k, v, o, lse, *rest: backward(g, q, k, v, o, lse + 0.1, *rest),
    }
    for name, instead in wrong.items():
        kernels.is_right.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(kernels, name, instead)
            assert not kernels.is_right(torch.device("cpu"), dtype)
        assert "other numbers than the formula" in capsys.readouterr().out


def test_a_kernel_that_another_release_has_otherwise_is_not_used(monkeypatch, capsys):
    def other(query, key):
        """Takes other arguments."""

    kernels.is_right.cache_clear()
    monkeypatch.setattr(kernels, "attend", other)
    assert not kernels.is_right(torch.device("cpu"), torch.float32)
    assert "cannot be used (TypeError" in capsys.readouterr().out
    kernels.is_right.cache_clear()


def test_pieces_of_one_length_are_read_in_one_call():
    """Three prompts of 6 tokens with two responses of 2: one call on prompts, one on responses, one of these on those."""
    pieces = pieces_of(((6, 2, 2),) * 3)
    assert pieces.own == [(0, 3, 6), (18, 6, 2)]
    assert pieces.over == [((18, 3, 4), (0, 3, 6))]


def test_equal_responses_stand_together_whatever_prompts_they_follow():
    assert order_of(((5, 3, 1), (4, 2, 2), (5, 3, 1), (6, 2, 2))) == [1, 3, 0, 2]


def test_under_autocast_the_parts_are_read_in_its_precision():
    _, policy, cfg = make("tiny_qwen2", "dpo")
    batch = batch_of(cfg, policy, "preference")
    exact = policy.log_likelihood(batch).total
    with torch.autocast("cpu", torch.bfloat16):
        rounded = policy.log_likelihood(batch).total
    assert 0 < (exact - rounded).abs().max() < 0.5
    rounded.sum().backward()
    assert all(p.grad.isfinite().all() for p in policy.parameters() if p.requires_grad)
