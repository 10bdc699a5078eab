"""What the seam promises, on a tiny Stable Diffusion with larger random weights (fresh ones are too alike to tell)."""

import math
import pickle
import re
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import nn

from aa_lightning.configuration.schema import Lora
from aa_lightning.data.shapes import Shapes
from aa_lightning.models.diffusion.options import Denoising, Diffusion
from aa_lightning.models.diffusion.policy import DiffusionPolicy, load_diffusion
from aa_lightning.models.tiny import stable_diffusion
from aa_lightning.models.token.encoder import TooLong
from aa_lightning.types import Preference, Prompt, text

SIZES = stable_diffusion.StableDiffusionSizes(vae_steps=1, unet_channels=(16, 16), text_width=32)
LORA = Lora(rank=2, alpha=4, dropout=0.0, target="attention")
ROWS = Shapes(modality="t2i", size=4, kinds=["colour"], max_shapes=1, image_size=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny_sd")
    stable_diffusion.build(path, seed=0, sizes=SIZES)
    return path


def options(folder, **changes):
    given = {
        "likelihood": "elbo",
        "family": "stable_diffusion",
        "path": str(folder),
        "tiny": {},
        "revision": None,
        "dtype": "float32",
        "image_size": 32,
        "timesteps_per_example": 2,
        "eval_timesteps_per_example": 4,
        "eval_seed": 0,
        "caption_dropout": 0.0,
        "long_captions": "error",
        "gradient_checkpointing": False,
        "keep_features": False,
        "lora": Lora(rank=0, alpha=16, dropout=0.0, target="attention"),
        "reference": "auto",
        "sampling": Denoising(steps=4, eta=1.0, guidance=1.0),
    }
    return Diffusion(**{**given, **changes})


def load(folder, reference=True, **changes):
    """A policy whose output layer is not zero, so that every input moves every number."""
    torch.manual_seed(0)
    policy = load_diffusion(options(folder, **changes), reference)
    for network in (policy.network, *policy.reference_modules()):
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for name, weight in network.unet.named_parameters():
                if weight.ndim > 1 and "lora" not in name:
                    weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return policy.train()


def example(index):
    row = ROWS[index]
    return Preference(
        id=str(index),
        messages=[{"role": "user", "content": [text(row["prompt"])]}],
        chosen=[{"type": "image", "image": row["chosen"]()}],
        rejected=[{"type": "image", "image": row["rejected"]()}],
    )


def batch_of(policy, count=3, responses=True):
    examples = [example(i) for i in range(count)]
    encoded = [policy.encoder.encode(e, e.responses if responses else []) for e in examples]
    return policy.encoder.collate(encoded)


def dpo(policy, batch, beta=2500.0):
    score = policy.log_likelihood(batch).total
    with policy.as_reference() as reference:
        score = score - reference.log_likelihood(batch).total
    return -nn.functional.logsigmoid(beta * (score[:, 0] - score[:, 1])).mean()


def step(policy, batch, lr=1e-3):
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=lr)
    dpo(policy, batch).backward()
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()


# ---------------------------------------------------------------- likelihood


def test_the_likelihood_of_a_prepared_batch_is_the_same_to_the_bit_every_time(folder):
    policy = load(folder)
    batch = policy.prepare(batch_of(policy))
    first, second = policy.log_likelihood(batch), policy.log_likelihood(batch)
    assert first.terms.shape == (3, 2, 2)
    assert torch.equal(first.terms, second.terms)


def test_training_draws_are_new_each_time_and_shared_by_the_pictures_of_a_prompt(folder):
    policy = load(folder)
    once, again = policy.prepare(batch_of(policy)), policy.prepare(batch_of(policy))
    assert once.draws["timesteps"].shape == (3, 2)
    assert once.draws["noise"].shape == (3, 2, 4, 8, 8)
    assert not torch.equal(once.draws["noise"], again.draws["noise"])
    spans = once.draws["timesteps"] // 500
    assert torch.equal(spans, torch.tensor([[0, 1]] * 3))  # draw i falls into the i-th half of 1000 timesteps


def test_heldout_draws_depend_on_the_row_alone(folder):
    policy = load(folder).eval()
    together = policy.prepare(batch_of(policy))
    examples = [example(2), example(0)]
    other = policy.prepare(policy.encoder.collate([policy.encoder.encode(e, e.responses) for e in examples]))
    assert together.draws["noise"].shape == (3, 4, 4, 8, 8)
    assert torch.equal(together.draws["noise"][[2, 0]], other.draws["noise"])
    assert torch.equal(together.draws["timesteps"][[2, 0]], other.draws["timesteps"])


def test_a_batch_gives_the_numbers_of_its_rows_one_by_one(folder):
    policy = load(folder).eval()
    together = policy.log_likelihood(policy.prepare(batch_of(policy))).terms
    for row in range(3):
        e = example(row)
        alone = policy.prepare(policy.encoder.collate([policy.encoder.encode(e, e.responses)]))
        assert torch.allclose(policy.log_likelihood(alone).terms[0], together[row], atol=1e-5)


def test_swapping_the_picture_or_the_caption_moves_the_likelihood(folder):
    policy = load(folder).eval()
    batch = policy.prepare(batch_of(policy))
    total = policy.log_likelihood(batch).total
    assert (total[:, 0] - total[:, 1]).abs().min() > 1e-5
    batch.draws["context"] = batch.draws["context"].roll(1, 0)
    assert (policy.log_likelihood(batch).total - total).abs().max() > 1e-5


def test_a_total_is_the_mean_over_draws_and_its_size_is_one(folder):
    policy = load(folder)
    batch = policy.prepare(batch_of(policy))
    likelihood = policy.log_likelihood(batch)
    assert torch.allclose(likelihood.total, likelihood.terms.mean(-1))
    assert torch.allclose(likelihood.size, torch.ones(3, 2))
    assert torch.allclose(likelihood.mean, likelihood.total)


def test_a_term_is_minus_the_mean_squared_error_against_what_diffusers_adds_and_predicts(folder):
    policy = load(folder).eval()
    batch = policy.prepare(batch_of(policy, count=1))
    d, schedule = batch.draws, policy.network.scheduler
    t = d["timesteps"][0, :1]
    noisy = schedule.add_noise(d["latents"][0, 1:2], d["noise"][0, :1], t)
    wanted = schedule.get_velocity(d["latents"][0, 1:2], d["noise"][0, :1], t)
    with torch.no_grad():
        error = (policy.pipeline.unet(noisy, t, d["context"]).sample - wanted).square().mean()
    assert policy.log_likelihood(batch).terms[0, 1, 0].item() == pytest.approx(-error.item(), rel=1e-5)


# ---------------------------------------------------------------- reference


@pytest.mark.parametrize("lora", [None, LORA], ids=["frozen copy", "adapter off"])
def test_dpo_starts_at_log_two_and_its_reference_never_moves(folder, lora):
    policy = load(folder, **({"lora": lora} if lora else {}))
    batch = policy.prepare(batch_of(policy))
    assert dpo(policy, batch).item() == pytest.approx(math.log(2), abs=1e-6)
    with policy.as_reference() as reference:
        before = reference.log_likelihood(batch)
    assert not before.terms.requires_grad
    for _ in range(3):
        step(policy, batch)
    with policy.as_reference() as reference:
        after = reference.log_likelihood(batch)
    assert torch.equal(before.terms, after.terms)
    assert (policy.log_likelihood(batch).terms - before.terms).abs().max() > 1e-6
    assert dpo(policy, batch).item() < math.log(2)


def test_the_frozen_reference_stands_in_no_state_dict_and_gets_no_gradient(folder):
    policy = load(folder)
    (copied,) = policy.reference_modules()
    ours = {id(p) for p in policy.parameters()}
    assert not any(id(p) in ours or p.requires_grad for p in copied.parameters())
    assert not any("reference" in name for name in policy.state_dict())


def test_lora_trains_adapters_only_keeps_no_second_copy_and_is_the_base_when_off(folder):
    base, policy = load(folder, reference=False), load(folder, lora=LORA)
    assert policy.reference_modules() == []
    trained = [name for name, p in policy.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    batch = policy.prepare(batch_of(policy))
    step(policy, batch, lr=1.0)
    with policy.as_reference() as reference:
        off = reference.log_likelihood(batch).terms
    assert torch.allclose(off, base.log_likelihood(batch).terms, atol=1e-6)
    assert (policy.log_likelihood(batch).terms - off).abs().max() > 1e-5


def test_a_policy_without_a_reference_says_what_to_type(folder):
    policy = load(folder, reference=False)
    with pytest.raises(ValueError, match=r"model\.reference=auto"), policy.as_reference():
        pass


def test_text_encoder_and_vae_stay_in_evaluation_mode_and_frozen(folder):
    policy = load(folder).train()
    assert policy.network.unet.training
    for part in (policy.vae, policy.text_encoder):
        assert not any(module.training for module in part.modules())
        assert not any(p.requires_grad for p in part.parameters())
    assert all(p.requires_grad for p in policy.network.parameters())


def test_dropped_captions_are_read_as_the_empty_caption_and_only_while_training(folder):
    policy = load(folder, caption_dropout=1.0)
    blank = policy.text_encoder(policy.encoder.tokens([""])["input_ids"]).last_hidden_state
    assert torch.allclose(policy.prepare(batch_of(policy)).draws["context"], blank.expand(3, -1, -1))
    assert (policy.eval().prepare(batch_of(policy)).draws["context"] - blank).abs().max() > 0.1


def test_what_trains_can_be_some_layers_alone(folder):
    policy = load(folder, trains="attention")
    trained = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert trained and all(re.search(r"\.attn[12]\.to_(q|k|v|out\.0)\.", name) for name in trained)
    assert sum("attn2.to_k" in name for name in trained) == sum("attn1.to_q" in name for name in trained)
    narrow = load(folder, trains=r"attn2\.to_v$")
    assert all("attn2.to_v" in name for name, weight in narrow.named_parameters() if weight.requires_grad)
    assert all(weight.requires_grad for weight in load(folder).network.parameters())
    with pytest.raises(ValueError, match="model.trains='nonsense' matches no linear layer .*attention"):
        load(folder, trains="nonsense")


# ---------------------------------------------------------------- sampling


def counted(monkeypatch, *names: str) -> list[str]:
    """Runs of the encoders, by the method that calls each."""
    runs: list[str] = []
    for name in names:
        plain = getattr(DiffusionPolicy, name)
        monkeypatch.setattr(
            DiffusionPolicy, name, lambda self, given, n=name, f=plain: runs.append(n) or f(self, given)
        )
    return runs


def test_encoders_run_once_for_a_picture_or_caption_and_no_bit_of_a_run_changes(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path))
    runs, ended = counted(monkeypatch, "_encode", "_read"), []
    expected = ((False, 24, 12), ("auto", 6, 4), ("auto", 0, 0))  # the third finds all on the disk
    for keep, pictures, captions in expected:
        policy = load(folder, keep_features=keep, caption_dropout=0.5)
        torch.manual_seed(2)
        for _ in range(4):
            step(policy, policy.prepare(batch_of(policy)))
        ended.append([weight.detach() for weight in policy.network.parameters()])
        assert (runs.count("_encode"), runs.count("_read")) == (pictures, captions)
        runs.clear()
    assert all(torch.equal(*pair) for other in ended[1:] for pair in zip(ended[0], other, strict=True))


def test_another_encoder_or_pixel_is_encoded_anew(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path))
    policy = load(folder, keep_features=64)
    batch = batch_of(policy)
    first = policy.prepare(batch).draws["latents"]
    runs = counted(monkeypatch, "_encode", "_read")
    batch.response["pixels"][1, 0, 0, 0, 0] += 1e-4
    policy.prepare(batch)
    assert runs == ["_encode"]
    with torch.no_grad():
        next(policy.vae.encoder.parameters()).mul_(1.1)
    assert not torch.equal(policy.prepare(batch).draws["latents"], first)
    assert runs == ["_encode"] * 7


@pytest.mark.parametrize(("eta", "guidance"), [(1.0, 1.0), (0.5, 3.0)])
def test_action_logprobs_reproduce_the_rollout(folder, eta, guidance):
    policy = load(folder, sampling=Denoising(steps=4, eta=eta, guidance=guidance))
    rollout = policy.sample(batch_of(policy, responses=False), 2)
    assert rollout.logprobs.shape == rollout.mask.shape == (3, 2, 4)
    assert rollout.mask.min() == 1
    assert torch.allclose(policy.action_logprobs(rollout), rollout.logprobs, atol=1e-5)
    policy.action_logprobs(rollout).mean().backward()
    assert policy.network.unet.conv_out.weight.grad.abs().max() > 0


def test_only_the_noisy_steps_are_actions_and_the_others_follow_from_them(folder):
    """The third and fourth step are those of DDIM, made here from where the second one ended."""
    policy = load(folder, sampling=Denoising(steps=4, eta=1.0, guidance=3.0, noisy_steps=2))
    rollout = policy.sample(batch_of(policy, responses=False), 2)
    assert rollout.logprobs.shape == (3, 2, 2) and rollout.mask.min() == 1
    assert torch.allclose(policy.action_logprobs(rollout), rollout.logprobs, atol=1e-5)
    chain, draws = rollout.batch.draws["chain"], rollout.batch.draws
    assert chain.shape[2] == 3 and chain.std(1).amin() > 0
    given = {key: draws[key].repeat_interleave(2, 0) for key in ("context", "blank", "guidance")}
    steps, latents = draws["steps"].repeat_interleave(2, 0), chain[:, :, -1].flatten(0, 1)
    with torch.no_grad():
        for action in (2, 3):
            here, there = steps[:, action], steps[:, action + 1]
            latents, _ = policy.network.step(latents, here, there, eta=torch.zeros(6), **given)
        pixels = policy.vae.decode(latents / policy.vae.config.scaling_factor).sample
    shown = rollout.batch.response["pixels"].flatten(0, 1)
    assert (pixels.clamp(-1, 1) - shown).abs().max() <= 1.01 / 127.5  # of a grey level


def test_all_steps_are_noisy_where_no_number_is_typed_and_more_than_all_are_refused(folder):
    drawn = []
    for noisy in (None, 4):
        policy = load(folder, sampling=Denoising(steps=4, eta=1.0, guidance=1.0, noisy_steps=noisy))
        torch.manual_seed(0)
        drawn.append(policy.sample(batch_of(policy, responses=False), 2).batch.draws["chain"])
    assert torch.equal(*drawn)
    with pytest.raises(ValueError, match="noisy_steps=5 are more than model.sampling.steps=4: type"):
        Denoising(steps=4, eta=1.0, guidance=1.0, noisy_steps=5)


def test_without_a_learning_blank_values_are_the_same_and_the_empty_caption_gets_no_gradient(folder):
    values, told = [], []
    for learns in (True, False):
        policy = load(folder, sampling=Denoising(steps=3, eta=1.0, guidance=3.0, blank_learns=learns))
        torch.manual_seed(0)
        rollout = policy.sample(batch_of(policy, responses=False), 2)
        states = [rollout.batch.draws[which].requires_grad_() for which in ("context", "blank")]
        values.append(policy.action_logprobs(rollout))
        values[-1].sum().backward()
        told.append([state.grad for state in states])
    assert torch.equal(*values)
    (one, other), (alone, none) = told
    assert one.abs().max() > 0 and other.abs().max() > 0 and alone.abs().max() > 0 and none is None


def test_action_logprobs_follow_the_weights(folder):
    policy = load(folder)
    rollout = policy.sample(batch_of(policy, responses=False), 2)
    with torch.no_grad():
        policy.network.unet.conv_out.weight.mul_(1.1)
    assert (policy.action_logprobs(rollout) - rollout.logprobs).abs().max() > 1e-4


def test_a_rollout_holds_pictures_whose_likelihood_can_be_asked_for(folder):
    policy = load(folder)
    rollout = policy.sample(batch_of(policy, responses=False), 2)
    picture = rollout.responses[2][1][0]["image"]
    assert isinstance(picture, Image.Image) and picture.size == (32, 32)
    assert torch.equal(policy.encoder.pixels(picture), rollout.batch.response["pixels"][2, 1])
    assert policy.prepare(rollout.batch) is rollout.batch  # whose chain is what is learned from
    pictures = policy.prepare(replace(rollout.batch, draws={}))
    assert policy.log_likelihood(pictures).total.shape == (3, 2)
    assert policy.training


def test_without_eta_sampling_is_the_ddim_of_diffusers_and_takes_no_action(folder):
    policy = load(folder, sampling=Denoising(steps=4, eta=0.0, guidance=3.0))
    torch.manual_seed(3)
    rollout = policy.sample(batch_of(policy, count=1, responses=False), 1)
    assert rollout.mask.sum() == 0 and rollout.logprobs.abs().sum() == 0
    start = rollout.batch.draws["chain"][0, :, 0]
    theirs = policy.pipeline(
        ROWS[0]["prompt"], latents=start, num_inference_steps=4, guidance_scale=3.0, output_type="latent"
    ).images
    assert torch.allclose(rollout.batch.draws["chain"][0, :, -1], theirs, atol=1e-4)


# ---------------------------------------------------------------- encoder


def test_the_encoder_travels_to_workers_and_gives_the_same_tensors(folder):
    encoder = load(folder, reference=False).encoder
    e = example(0)
    ours, theirs = encoder.encode(e, e.responses), pickle.loads(pickle.dumps(encoder)).encode(e, e.responses)
    assert torch.equal(ours.pixels, theirs.pixels) and torch.equal(ours.input_ids, theirs.input_ids)
    assert ours.pixels.shape == (2, 3, 32, 32) and ours.pixels.min() >= -1 and ours.pixels.max() <= 1
    assert ours.attention_mask.sum() == 5  # start, "a", "red", "circle", end


def test_a_wide_picture_is_cropped_around_its_centre(folder):
    encoder = load(folder, reference=False).encoder
    wide = Image.new("RGB", (128, 64), "white")
    wide.paste("black", (32, 0, 96, 64))
    assert encoder.pixels(wide).mean() == pytest.approx(-1, abs=0.05)


def test_what_cannot_be_drawn_is_refused_by_row(folder):
    encoder = load(folder, reference=False).encoder
    with pytest.raises(ValueError, match=r"row 0 is answered with text"):
        encoder.encode(example(0), [[text("a red circle")]])
    with pytest.raises(ValueError, match=r"row 7 holds image in its prompt"):
        encoder.encode(Prompt(id="7", messages=[{"role": "user", "content": example(0).chosen}]), [])
    long = Prompt(id="8", messages=[{"role": "user", "content": [text("red " * 40)]}])
    with pytest.raises(
        TooLong, match=r"row 8, column 'prompt': The caption has 42 tokens and the text encoder reads 32"
    ):
        encoder.encode(long, [])
    encoder = load(folder, reference=False, long_captions="cut").encoder
    assert encoder.encode(long, []).attention_mask.sum() == 32


# ---------------------------------------------------------------- export


@pytest.mark.parametrize("gathered", [False, True], ids=["own weights", "gathered weights"])
def test_an_export_reloads_in_diffusers_alone_and_restores_a_policy(folder, tmp_path, gathered):
    policy = load(folder)
    step(policy, policy.prepare(batch_of(policy)))
    wanted = prediction_of(policy)
    weights = {name: weight.clone() for name, weight in policy.state_dict().items()} if gathered else None
    if gathered:  # what a strategy gathered counts, not the shard that is there
        nn.init.zeros_(policy.network.unet.conv_out.weight)
    policy.save(tmp_path, weights)
    assert list(tmp_path.glob("unet/*.safetensors"))
    assert torch.equal(prediction(StableDiffusionPipeline.from_pretrained(tmp_path).unet), wanted)
    fresh = load(folder)
    before = reference_terms(fresh)
    fresh.restore(tmp_path)
    assert torch.equal(prediction_of(fresh), wanted)
    assert torch.equal(reference_terms(fresh), before)


@pytest.mark.parametrize("gathered", [False, True], ids=["own weights", "gathered weights"])
def test_an_adapter_export_reloads_on_its_base_in_diffusers_and_through_our_loader(folder, tmp_path, gathered):
    policy = load_diffusion(options(folder, lora=LORA), True)
    with torch.no_grad():
        for name, weight in policy.network.unet.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(4))
    with policy.adapters.off():
        plain = prediction_of(policy)
    wanted = prediction_of(policy)
    assert (wanted - plain).abs().max() > 1e-3
    policy.save(tmp_path, policy.state_dict() if gathered else None)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_lora_weights.safetensors"]
    theirs = StableDiffusionPipeline.from_pretrained(folder)
    theirs.load_lora_weights(tmp_path)
    assert torch.allclose(prediction(theirs.unet), wanted, atol=1e-5)
    merged = load_diffusion(options(tmp_path), False)  # the adapter remembers its base
    assert torch.allclose(prediction_of(merged), wanted, atol=1e-5)
    assert not any("base_layer" in name or "lora" in name for name in merged.network.unet.state_dict())
    restored = load_diffusion(options(folder, lora=LORA), True)
    restored.restore(tmp_path)
    assert torch.equal(prediction_of(restored), wanted)


def test_an_adapter_trained_on_an_adapter_reloads_with_both(folder, tmp_path):
    path, wanted = folder, []
    for number in (1, 2):
        policy = load_diffusion(options(path, lora=LORA), False)
        with torch.no_grad():
            for name, weight in policy.network.unet.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.1, generator=torch.Generator().manual_seed(number))
        path = tmp_path / str(number)
        policy.save(path)
        wanted.append(prediction_of(policy))
    assert (wanted[1] - wanted[0]).abs().max() > 1e-3
    assert torch.allclose(prediction_of(load_diffusion(options(path), False)), wanted[1], atol=1e-5)


@torch.no_grad()
def reference_terms(policy):
    batch = policy.eval().prepare(batch_of(policy))
    with policy.as_reference() as reference:
        return reference.log_likelihood(batch).terms


def prediction_of(policy):
    return prediction(policy.network.unet)


@torch.no_grad()
def prediction(unet):
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(2, 4, 8, 8, generator=generator)
    context = torch.randn(2, 5, SIZES.text_width, generator=generator)
    return unet(noisy, torch.tensor([10, 900]), context).sample
