"""Our own sampling loop against the library's `generate`, and what it keeps in memory."""

import pytest
import torch
import transformers as hf

from aa_lightning.models.token.choice import choose, drawn
from aa_lightning.models.token.rows import shares
from aa_lightning.types import Prompt, Sampling, text
from tests.contract.support import MODELS, batch_of, borrow, make, modality

GREEDY = Sampling(max_new_tokens=12, temperature=0.0)
ALL = [model for model in MODELS if modality(model) != "t2i"]
KEPT_FOR_EACH = {  # attention that runs eagerly, pictures that are looked across at, windows shorter than a prompt
    *("tiny_gemma2", "tiny_mllama", "tiny_mistral", "tiny_phi3", "tiny_gemma3", "tiny_gemma3_text"),
}
WRITERS = [model for model in MODELS if modality(model) not in ("t2i", "t2a", "ti2ti")]


@pytest.mark.parametrize("model", WRITERS)
def test_the_likeliest_answers_to_a_batch_are_those_that_the_library_gives_each_prompt_alone(model):
    _, policy, cfg = borrow(model)
    asked = batch_of(cfg, policy, "prompt", slice(0, 4))
    found = policy.sample(asked, 2, GREEDY).batch.response
    assert torch.equal(found["input_ids"][:, 0], found["input_ids"][:, 1])
    for row in range(4):
        alone = batch_of(cfg, policy, "prompt", slice(row, row + 1))
        said = found["input_ids"][row, 0][found["mask"][row, 0].bool()]
        assert said.tolist() == generated(policy, alone).tolist()


@pytest.mark.parametrize("most", [1, 12])
def test_a_response_has_ended_if_it_says_its_end_within_the_limit(most, monkeypatch):
    _, policy, cfg = borrow("tiny_qwen2")
    asked = batch_of(cfg, policy, "prompt", slice(0, 4))
    let_end(policy, asked, 16, min(4, most - 1), monkeypatch)
    drawn = policy.sample(asked, 16, Sampling(max_new_tokens=most))
    ids, said = drawn.batch.response["input_ids"], drawn.batch.response["mask"].bool()
    assert torch.equal(drawn.ended, ((ids == policy.encoder.end) & said).any(-1))
    assert drawn.ended[1, 1] and 0 < drawn.ended.sum() < 64
    assert (said.sum(-1) == most)[~drawn.ended].all() and ids.shape[-1] <= most
    assert (ids == policy.encoder.pad)[~said].all()


@pytest.mark.parametrize("model", ALL)
def test_prompts_kept_once_give_the_tokens_and_probabilities_of_prompts_kept_for_each_response(model, monkeypatch):
    _, policy, cfg = borrow(model)
    asked = batch_of(cfg, policy, "prompt", slice(0, 3))
    let_end(policy, asked, 3, 4, monkeypatch)
    kept_once = shares(policy.network, policy.prepare(asked), 12)
    assert kept_once == (model not in KEPT_FOR_EACH)
    drawn = {}
    for sharing in ("auto", "never") if kept_once else ():
        policy.network.prefix_sharing = sharing
        torch.manual_seed(0)
        drawn[sharing] = policy.sample(asked, 3, Sampling(max_new_tokens=12))
    if kept_once:
        once, each = drawn["auto"], drawn["never"]
        assert torch.equal(once.batch.response["input_ids"], each.batch.response["input_ids"])
        assert torch.equal(once.mask, each.mask) and torch.equal(once.ended, each.ended)
        assert torch.allclose(once.logprobs, each.logprobs, atol=1e-5)
        assert once.ended[1, 1] and not once.ended.all()


def let_end(policy, asked, n: int, step: int, monkeypatch) -> None:
    """Let what the second response to the second prompt says at a step, when it is drawn next, be the end of an answer."""
    torch.manual_seed(0)
    said = policy.sample(asked, n, Sampling(max_new_tokens=12)).batch.response["input_ids"]
    monkeypatch.setattr(policy.encoder, "end", int(said[1, 1, step]))
    torch.manual_seed(0)


def test_a_window_in_which_a_prompt_and_its_response_fit_is_none():
    """Of 16 tokens here; the last token sees itself and 15 before it."""
    policy = borrow("tiny_mistral")[1]
    encoded = policy.encoder.encode(Prompt(id="0", messages=[{"role": "user", "content": [text("Hi")]}]), [])
    asked = policy.encoder.collate([encoded])
    room = 16 - asked.prompt["input_ids"].shape[1]
    assert shares(policy.network, asked, room) and not shares(policy.network, asked, room + 1)
    drawn = {}
    for most in (room, 40):
        torch.manual_seed(0)
        drawn[most] = policy.sample(asked, 4, Sampling(max_new_tokens=most))
    tokens = [one.batch.response["input_ids"][..., :room] for one in drawn.values()]
    assert torch.equal(*tokens)
    assert torch.allclose(drawn[room].logprobs, drawn[40].logprobs[..., :room], atol=1e-5)


@pytest.mark.parametrize("model", ["tiny_qwen2", "tiny_llava", "tiny_gemma2"])
def test_training_mode_and_checkpointed_layers_change_no_draw(model):
    policy, cfg = make(model, "dpo", "model.dropout=0.5")[1:]
    asked = batch_of(cfg, policy, "prompt", slice(0, 2))
    drawn = []
    for training in (False, True):
        policy.train(training)
        if training:
            policy.network.model.gradient_checkpointing_enable()
        torch.manual_seed(0)
        drawn.append(policy.sample(asked, 4, Sampling(max_new_tokens=8)))
        assert policy.training == training
    assert torch.equal(drawn[0].batch.response["input_ids"], drawn[1].batch.response["input_ids"])
    assert torch.equal(drawn[0].logprobs, drawn[1].logprobs)


@pytest.mark.skipif(
    "AVX512" not in torch.backends.cpu.get_cpu_capability(),
    reason="a CPU without AVX512 rounds products of 16 bits by the shapes of their batches",
)
def test_in_16_bits_draws_have_the_probabilities_that_training_reads():
    """Both attend in the same two parts. Rows of their own are rounded otherwise, by 0.003 nats in the mean."""
    policy, cfg = make("tiny_llava", "dpo")[1:]
    policy.eval()
    asked, apart = batch_of(cfg, policy, "prompt", slice(0, 3)), {}
    for sharing in ("auto", "never"):
        policy.network.prefix_sharing = sharing
        torch.manual_seed(0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            drawn = policy.sample(asked, 3, Sampling(max_new_tokens=8))
            apart[sharing] = (policy.action_logprobs(drawn) - drawn.logprobs).abs().mean().item()
    assert apart["auto"] < 1e-5 and apart["never"] > 1e-3


def test_the_room_for_responses_grows_with_them():
    """More than two blocks of 64 tokens, and still the probabilities with which they were drawn."""
    _, policy, cfg = borrow("tiny_qwen2")
    torch.manual_seed(0)
    drawn = policy.sample(batch_of(cfg, policy, "prompt", slice(0, 2)), 2, Sampling(max_new_tokens=140))
    assert (drawn.mask.sum(-1) > 128).any()
    assert torch.allclose(policy.action_logprobs(drawn), drawn.logprobs, atol=1e-5)


def test_what_was_drawn_can_be_drawn_again_from_the_state_of_the_global_generator():
    _, policy, cfg = borrow("tiny_qwen2")
    asked = batch_of(cfg, policy, "prompt", slice(0, 2))
    state = torch.get_rng_state()
    first = policy.sample(asked, 4, Sampling(max_new_tokens=8)).batch.response["input_ids"]
    other = policy.sample(asked, 4, Sampling(max_new_tokens=8)).batch.response["input_ids"]
    torch.set_rng_state(state)
    again = policy.sample(asked, 4, Sampling(max_new_tokens=8)).batch.response["input_ids"]
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_model_whose_weights_are_broken_draws_nothing_and_says_why(broken):
    policy, cfg = make("tiny_qwen2", "dpo")[1:]
    with torch.no_grad():
        policy.network.head.weight[3] = broken
    with pytest.raises(ValueError, match=r"logits are no numbers .* type: a lower optimizer.lr"):
        policy.eval().sample(batch_of(cfg, policy, "prompt", slice(0, 2)), 2, Sampling(max_new_tokens=4))


def generated(policy, batch) -> torch.Tensor:
    """What the library writes, up to and including the end of the answer."""
    encoder = policy.encoder
    settings = hf.GenerationConfig(
        max_new_tokens=GREEDY.max_new_tokens,
        do_sample=False,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
        suppress_tokens=encoder.placeholders or None,
    )
    with torch.no_grad():
        tokens = policy.network.writer.generate(**batch.prompt, generation_config=settings)
    return tokens[0, batch.prompt["input_ids"].shape[1] :]


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("model", ["tiny_llava", "tiny_gemma2"])
def test_a_share_of_the_reference_draws_from_the_geometric_mixture(model, lora):
    """Of each drawn token (1 − s) log π + s log π_ref, less the log of the sum of its like over all tokens; at s = 1 that is
    the reference. Both networks read responses by themselves, the policy's too where its adapter is off meanwhile."""
    _, policy, cfg = make(model, "dpo", f"model.lora.rank={lora}", f"model.reference={'adapter' if lora else 'frozen'}")
    policy.eval()
    with torch.no_grad():
        torch.manual_seed(1)
        for parameter in policy.network.parameters():
            parameter += 0.1 * torch.randn_like(parameter) * parameter.requires_grad
    asked = batch_of(cfg, policy, "prompt", slice(0, 3))
    for share in (0.3, 1.0):
        drawn = policy.sample(asked, 4, Sampling(max_new_tokens=6, temperature=0.8, reference=share))
        with torch.no_grad(), policy.as_reference() as reference:
            theirs = _whole(reference, drawn, 0.8)
        with torch.no_grad():
            ours = _whole(policy, drawn, 0.8)
        assert (ours - theirs).abs().max() > 0.1
        mixed = ((1 - share) * ours + share * theirs).log_softmax(-1)
        said = drawn.batch.response["mask"].bool()
        tokens = drawn.batch.response["input_ids"][said]
        expected = mixed.gather(-1, tokens[:, None])[:, 0]
        assert torch.allclose(drawn.logprobs[said], expected, atol=2e-5)


def _whole(model, drawn, temperature: float) -> torch.Tensor:
    """(N, V) log-probabilities at the N tokens that were said, at a temperature."""
    return model.log_likelihood(drawn.batch, statistic="distribution").statistic / temperature


def test_banned_tokens_are_never_chosen_and_keep_their_share_or_give_it_to_the_others():
    """Logits log 1, log 2, log 5, the last one banned: 2 of 8, or 2 of 3."""
    logits, banned = torch.tensor([[1.0, 2.0, 5.0]]).log(), torch.tensor([False, False, True])
    for renormalise, share in ((False, 2 / 8), (True, 2 / 3)):
        token, logprob = choose(logits.clone(), banned, renormalise, 0.0, torch.zeros(1).double())
        assert token.tolist() == [1]
        assert logprob.exp().tolist() == pytest.approx([share])
    chances = torch.rand(3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn, _ = choose(logits.repeat(3000, 1), banned, True, 0.5, chances)
    assert drawn.bincount(minlength=3).tolist() == pytest.approx([600, 2400, 0], abs=90)  # 1² : 2²


def test_a_place_is_drawn_where_the_distribution_function_passes_the_chance():
    """Weights 1, 0, 3 among 200: the function is ¼ on places 70 to 149 and 1 from 150 on; places without weight never."""
    weights = torch.zeros(1, 200)
    weights[0, 70], weights[0, 150] = 1.0, 3.0
    chances = torch.tensor([0.0, 0.24999, 0.25, 0.9, 1.0 - 2**-53], dtype=torch.float64)
    assert drawn(weights.repeat(5, 1), chances).tolist() == [70, 70, 150, 150, 150]


def test_unlikely_tokens_of_a_large_vocabulary_are_told_from_each_other():
    """50,000 tokens of weight 1, and as many of 1e-6: those have a millionth of the chance together."""
    weights = torch.ones(1, 100_000)
    weights[:, 50_000:] = 1e-6
    chances = 1 - torch.tensor([0.9e-6, 0.5e-6, 0.1e-6], dtype=torch.float64)
    assert drawn(weights.expand(3, -1), chances).tolist() == pytest.approx([55_000, 75_000, 95_000], abs=1)
