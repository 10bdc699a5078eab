"""What frozen towers and encoders make of a medium is read once, and changes no bit of a run."""

import re
import sqlite3
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from PIL import Image

from aa_lightning.models.families.table import FAMILIES
from aa_lightning.models.token import features
from aa_lightning.models.token.towers import KeptTower, release_towers
from aa_lightning.system import bounded_store
from aa_lightning.system.bounded_store import BoundedStore
from aa_lightning.system.cache import bytes_of
from aa_lightning.training import strategies
from aa_lightning.types import Prompt, text
from tests.contract.support import MODELS, batch_of, loss_of, make

READERS = [model for model in MODELS if model != "tiny_sd" and FAMILIES[model.removeprefix("tiny_")].media]
KEEPERS = [model for model in READERS if not FAMILIES[model.removeprefix("tiny_")].reads_codes]
FROZEN = "model.lora.rank=2"


def towers(policy) -> list[KeptTower]:
    """Of the policy, and of a reference beside it."""
    networks = [policy.network, *policy.reference_modules()]
    own = [vars(module).get("forward") for network in networks for module in network.modules()]
    return [forward for forward in own if isinstance(forward, KeptTower)]


def remembering(policy, memory: BoundedStore | None):
    for tower in towers(policy):
        tower.features.store = memory
    return policy


def counting(monkeypatch) -> list[str]:
    """The towers that read a medium, one entry for each."""
    read, plain = [], KeptTower._read

    def counted(self, given):
        read.append(type(self.module).__name__)
        return plain(self, given)

    monkeypatch.setattr(KeptTower, "_read", counted)
    return read


def shown(cfg, policy):
    """A batch of three rows with media in their prompts; of families that answer with sound, pictures."""
    if "audio" not in policy.encoder.family.writes:
        return policy.prepare(batch_of(cfg, policy, "preference"))
    noise = [Image.effect_noise((64, 64), 60 + n).convert("RGB") for n in range(3)]
    asked = [[{"type": "image", "image": picture}, text("which colour")] for picture in noise]
    prompts = [Prompt(id=str(n), messages=[{"role": "user", "content": parts}]) for n, parts in enumerate(asked)]
    said = [[text("red")], [text("blue")]]
    return policy.encoder.collate([policy.encoder.encode(prompt, said) for prompt in prompts])


def trained(algorithm, policy, batch, steps: int = 2) -> list[torch.Tensor]:
    """Losses and weights of some steps on one batch."""
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer, losses = torch.optim.AdamW(weights, lr=1e-2), []
    policy.train()
    for _ in range(steps):
        loss = loss_of(algorithm, policy, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return [*losses, *(weight.detach() for weight in weights)]


def same(ours, theirs) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("model", READERS)
def test_every_tower_that_reads_media_is_kept_or_its_family_reads_codes(model):
    _, policy, _ = make(model, "dpo", FROZEN)
    family, network = policy.encoder.family, policy.network.model
    eyes = [re.compile(family.groups[name]) for name in ("vision", "audio") if name in family.groups]
    known = tuple(f"{name}." for name in family.kept)
    seeing = [name.replace(".base_layer", "") for name, _ in network.named_parameters()]
    seeing = [name for name in seeing if any(pattern.search(name) for pattern in eyes)]
    assert not seeing if family.reads_codes else seeing
    assert [name for name in seeing if not name.startswith(known)] == []
    assert len(towers(policy)) == len({name for name in known if any(one.startswith(name) for one in seeing)})


@pytest.mark.parametrize("model", KEEPERS)
def test_a_run_is_the_same_to_the_bit_and_media_are_read_once_in_the_life_of_the_store(model, tmp_path, monkeypatch):
    read = counting(monkeypatch)
    algorithm, policy, cfg = make(model, "dpo", FROZEN)
    batch = shown(cfg, policy)
    fresh = trained(algorithm, remembering(policy, None), batch)
    each_time = len(read)

    _, policy, _ = make(model, "dpo", FROZEN)
    read.clear()
    assert same(fresh, trained(algorithm, remembering(policy, BoundedStore(tmp_path, 2**24)), batch))
    probed = 2 * sum(tower._draws is not None for tower in towers(policy))
    once = len(read) - probed
    assert 0 < 4 * once <= each_time  # two steps, policy and reference

    _, policy, _ = make(model, "dpo", FROZEN)
    read.clear()
    assert same(fresh, trained(algorithm, remembering(policy, BoundedStore(tmp_path, 2**24)), batch))
    assert len(read) == probed


@pytest.mark.parametrize("model", KEEPERS)
def test_media_read_one_at_a_time_are_those_that_the_library_reads_together(model, tmp_path):
    _, policy, cfg = make(model, "dpo", FROZEN)
    batch = shown(cfg, policy)
    alone = remembering(policy, BoundedStore(tmp_path, 2**24)).log_likelihood(batch).terms
    release_towers(policy)
    assert towers(policy) == []
    assert torch.allclose(policy.log_likelihood(batch).terms, alone, atol=1e-5, rtol=1e-6)


@pytest.fixture
def llava(tmp_path):
    """A policy with a frozen tower and a frozen reference beside it, its batch, and its memory."""
    _, policy, cfg = make("tiny_llava", "dpo", "model.freeze=[vision]")
    memory = BoundedStore(tmp_path / "features", 2**24)
    return remembering(policy.train(), memory), batch_of(cfg, policy, "preference"), memory


def test_policy_and_reference_read_a_picture_once(llava, monkeypatch):
    policy, batch, _ = llava
    assert len(towers(policy)) == 2
    read = counting(monkeypatch)
    policy.log_likelihood(batch)
    assert len(read) == 2 + 3  # a probe of training mode, and three pictures
    read.clear()
    with policy.as_reference() as reference:
        reference.log_likelihood(batch)
    policy.log_likelihood(batch)
    assert read == []


def changed_pixel(policy, batch):
    batch.prompt["pixel_values"][1, 0, 0, 0] += 1e-6
    return 1


def changed_weight(policy, batch):
    weight = next(towers(policy)[0].module.parameters())
    with torch.no_grad():
        weight.view(-1)[0].mul_(1 + 1e-6)
    return 3


def loaded_weights(policy, batch):
    module = towers(policy)[0].module
    state = {name: value.clone() for name, value in module.state_dict().items()}
    next(iter(state.values())).view(-1)[0] += 1e-6
    module.load_state_dict(state)
    return 3


def other_type(policy, batch):
    policy.network.model.double()
    return 3


def other_layer(policy, batch):
    config = policy.network.model.model.config
    config.vision_feature_layer = -3 - config.vision_feature_layer  # of the last two
    return 3


@pytest.mark.parametrize("change", [changed_pixel, changed_weight, loaded_weights, other_type, other_layer])
@torch.no_grad()
def test_what_is_changed_is_read_anew(llava, change, monkeypatch):
    policy, batch, _ = llava
    backbone, kept = policy.eval().network.model.model, towers(policy)[0]
    for _ in range(2):
        backbone.get_image_features(batch.prompt["pixel_values"])
    anew = change(policy, batch)
    read = counting(monkeypatch)
    backbone.get_image_features(batch.prompt["pixel_values"])
    assert len(read) == anew
    layer = backbone.config.vision_feature_layer
    (seen, plain) = (
        forward(batch.prompt["pixel_values"], output_hidden_states=layer, return_dict=True).hidden_states[layer]
        for forward in (kept, kept._plain)
    )
    assert torch.allclose(seen, plain, atol=1e-6)


def test_arithmetic_is_a_part_of_what_is_asked(llava, monkeypatch):
    policy, batch, _ = llava
    policy.log_likelihood(batch)
    read = counting(monkeypatch)
    with torch.autocast("cpu", torch.bfloat16):
        policy.log_likelihood(batch)
    assert len(read) == 3


def test_a_tower_that_trains_reads_whole_batches():
    _, policy, _ = make("tiny_llava", "dpo")
    assert towers(policy) == []


@pytest.mark.parametrize(("stage", "kept"), [(2, 2), (3, 0)])
def test_towers_whose_weights_are_gathered_for_each_call_read_whole_batches(llava, stage, kept):
    """ZeRO-2 leaves weights whole, ZeRO-3 does not, and all processes gather together."""
    strategy = object.__new__(strategies.DeepSpeed)
    strategy.config = {"zero_optimization": {"stage": stage}}
    policy, _, _ = llava
    trainer = SimpleNamespace(strategy=strategy)
    with patch.object(strategies, "_place_frozen"):
        strategies.shard_policy(trainer, policy)
        strategies.place_reference(trainer, policy)
    assert len(towers(policy)) == kept


@pytest.mark.parametrize("model", ["tiny_llava", "tiny_qwen2_audio"])
def test_a_tower_that_draws_is_read_each_time_and_its_draws_are_those_of_a_run_without(model, tmp_path, monkeypatch):
    changes = (FROZEN, "model.dropout=0.2")
    _, policy, cfg = make(model, "dpo", *changes)
    batch = batch_of(cfg, policy, "preference")
    release_towers(policy)
    torch.manual_seed(5)
    fresh = policy.train().log_likelihood(batch).terms
    _, policy, _ = make(model, "dpo", *changes)
    torch.manual_seed(5)
    assert torch.equal(remembering(policy, BoundedStore(tmp_path, 2**24)).train().log_likelihood(batch).terms, fresh)
    assert [tower._draws for tower in towers(policy)] == [True]
    read = counting(monkeypatch)
    for _ in range(2):
        policy.eval().log_likelihood(batch)
    assert len(read) == 3  # without dropout, each medium once


def test_gradients_with_respect_to_pixels_are_there(llava):
    policy, batch, _ = llava
    batch.prompt["pixel_values"].requires_grad_()
    policy.log_likelihood(batch).total.sum().backward()
    assert batch.prompt["pixel_values"].grad.norm() > 0


def test_a_damaged_store_is_filled_again(llava, monkeypatch):
    policy, batch, memory = llava
    first = policy.log_likelihood(batch).terms
    (file,) = memory.parent.glob("*/*.sqlite")
    with sqlite3.connect(file) as base:
        (half,) = base.execute("SELECT key FROM kept LIMIT 1").fetchone()
        base.execute("UPDATE kept SET value = substr(value, 1, length(value) / 2) WHERE key = ?", (half,))
    base.close()
    read = counting(monkeypatch)
    remembering(policy, BoundedStore(memory.parent, memory.most))
    assert torch.equal(policy.log_likelihood(batch).terms, first) and len(read) == 1
    file.write_bytes(b"no database")
    remembering(policy, BoundedStore(memory.parent, memory.most))
    assert torch.equal(policy.log_likelihood(batch).terms, first) and len(read) == 1 + 3


def test_two_runs_at_once_share_what_either_has_read(llava, monkeypatch):
    policy, batch, memory = llava
    other = BoundedStore(memory.parent, memory.most)
    with torch.no_grad():
        policy.log_likelihood(batch)
        read = counting(monkeypatch)
        remembering(policy, other).log_likelihood(batch)
    assert read == []


VALUES = {bytes([n]): bytes([n]) * 1000 for n in range(8)}


class TestMemory:
    """Values of 1000 bytes."""

    def test_what_does_not_fit_in_memory_comes_from_the_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr(bounded_store, "_IN_MEMORY", 3500)
        memory = BoundedStore(tmp_path, 2**20)
        memory.put("tower", VALUES)
        assert len(memory._values) == 3
        assert memory.get("tower", VALUES) == VALUES
        assert memory.get("another", VALUES) == {}

    def test_a_full_store_takes_no_more_and_keeps_what_it_has(self, tmp_path, monkeypatch):
        monkeypatch.setattr(bounded_store, "_IN_MEMORY", 0)
        memory = BoundedStore(tmp_path, 20_000)
        for number in range(40):
            memory.put("tower", {b"%d" % number: bytes(1000)})
        there = memory.get("tower", [b"%d" % number for number in range(40)])
        assert 1 < len(there) < 20 and sorted(there) == [b"%d" % number for number in range(len(there))]
        assert bytes_of(tmp_path) <= 20_000 + 2 * 4096  # pages of SQLite

    def test_stores_of_other_towers_go_where_all_are_too_large(self, tmp_path):
        BoundedStore(tmp_path, 2**20).put("first", VALUES)
        room = 5 * bytes_of(tmp_path) // 2
        for name in ("second", "third", "fourth"):
            BoundedStore(tmp_path, room).put(name, VALUES)
        assert sorted(folder.name for folder in tmp_path.iterdir()) == ["fourth", "second", "third"]

    def test_without_a_disk_to_write_on_a_run_goes_on(self, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        memory = BoundedStore(tmp_path / "file" / "features", 2**20)
        for _ in range(2):
            memory.put("tower", VALUES)
            assert memory.get("tower", VALUES) == VALUES
        assert capsys.readouterr().out.count("kept in memory alone") == 1

    def test_a_disk_that_is_nearly_full_is_left_to_others(self, tmp_path, monkeypatch):
        monkeypatch.setattr(bounded_store, "_FREE", 2**62)
        BoundedStore(tmp_path, 2**20).put("tower", VALUES)
        assert BoundedStore(tmp_path, 2**20).get("tower", VALUES) == {}


def test_the_option_says_how_much_is_kept():
    assert features.features_store(False) is None
    assert features.features_store("auto").most == 2**33
    assert features.features_store(16).most == 2**24
