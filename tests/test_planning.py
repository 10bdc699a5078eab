"""A plan of what fits: memory as it is measured, shares of strategies worked by hand, and the command to type."""

import pytest
from benchmarks.subject import SIZES
from torch import nn
from torch.profiler import ProfilerActivity, profile

from aa_lightning.assembly import devices
from aa_lightning.assembly.build import build_run
from aa_lightning.assembly.data import data_options
from aa_lightning.assembly.devices import GIB, device_of
from aa_lightning.assembly.memory import held
from aa_lightning.assembly.planning import plan
from aa_lightning.assembly.policy import build_algorithm, check_model
from aa_lightning.assembly.survey import read_all
from aa_lightning.check import check
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.strategy import Strategy
from aa_lightning.training.rehearsal import Footprint
from tests.contract.support import composed
from tests.reliability import forked

MIB = 2**20
# 45 million weights, and the same with less of everything
LARGE = ["+model.tiny={" + ",".join(f"{key}:{value}" for key, value in SIZES.items()) + "}"]
SMALL = ["model.tiny.width=192", "model.tiny.layers=6", "model.tiny.mlp=512", "model.tiny.image_size=96"]
BARE = ["evaluation.num_examples=0", "checkpoint.every_n_steps=100", "logger.csv=false", "logger.tensorboard=false"]
BARE += ["modality=ti2t", "init=null", "data.val.size=2", "trainer.max_steps=3", "trainer.enable_progress_bar=false"]


@pytest.fixture(autouse=True)
def known_speed(monkeypatch):
    """Nothing is measured of the machine but memory."""
    monkeypatch.setattr(devices, "_measured", lambda kind, in_half: 1e11)


def planned(*typed):
    """The plan of a command line."""
    cfg = compose(typed, "check")
    algorithm = build_algorithm(cfg)
    encoder = check_model(cfg)
    return plan(cfg, algorithm, encoder, read_all(cfg, algorithm, data_options(cfg), encoder))


def measured(typed, folder):
    """The most bytes that torch had given out at a time, in a run of three steps from its very beginning."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run = build_run(compose(typed), folder)
        run.trainer.fit(run.module, run.data)
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    most = alive = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    return most


def rows(prompts, micro):
    return [f"data.train.size={prompts}", f"loader.batch_size={prompts}", f"loader.micro_batch_size={micro}"]


CASES = [
    pytest.param([*SMALL, *rows(4, 4), "algo=dpo"], id="small"),
    *(
        pytest.param([*LARGE, *typed], id="-".join(typed[3:]), marks=pytest.mark.slow)
        for typed in (
            [*rows(2, 2), "algo=dpo"],
            [*rows(2, 1), "algo=dpo"],
            [*rows(2, 2), "algo=dpo", "model.gradient_checkpointing=true"],
            [*rows(2, 2), "algo=dpo", "model.lora.rank=16"],
            [*rows(2, 2), "algo=dpo", "trainer.precision=bf16-mixed"],
            [*rows(2, 2), "algo=sft"],
            [*rows(2, 2), "algo=reward_model"],
        )
    ),
]


@pytest.mark.parametrize("typed", CASES)
def test_a_run_takes_the_memory_that_was_planned(typed, tmp_path):
    typed = [*typed, *BARE]
    assert planned(*typed).typed.held.total == pytest.approx(measured(typed, tmp_path), rel=0.15)


STEP = Footprint(
    weights=4000, trained=4000, gradients=4000, moments=8000, reference=4000, working=900, peak=20_500, flop=1
)


def layered():
    """Eight weights of four bytes outside of two blocks of sixteen."""
    blocks = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)])
    policy = nn.Module()
    policy.network = nn.ModuleDict({"layers": blocks, "head": nn.Linear(4, 2, bias=False)})
    policy.reference_modules = list
    return policy


@pytest.mark.parametrize(
    ("strategy", "processes", "parts"),
    [
        (Strategy(), 1, (4000, 4000, 8000, 4000, 500)),
        (Strategy("DDP"), 2, (4000, 8000, 8000, 4000, 500)),  # gradients are averaged in buckets of their size
        (
            Strategy("FSDP"),
            4,
            (1000, 1000, 2000, 1000, 900 + 32 + 3 * 64),
        ),  # the head, two blocks and a block's gradients
        (Strategy("DeepSpeed", 1), 4, (4000, 4000, 6000, 4000, 900 + 4000)),  # 12 bytes for each of 2000 numbers, / 4
        (Strategy("DeepSpeed", 2), 4, (4000, 1000, 6000, 4000, 900 + 4000)),
        (Strategy("DeepSpeed", 3), 4, (1000, 1000, 6000, 1000, 900 + 8000 + 4000)),
        (Strategy("DeepSpeed", 2, offload=True), 4, (4000, 1000, 0, 4000, 900 + 4000)),
        (Strategy("DeepSpeed", 3, offload=True), 4, (0, 1000, 0, 0, 900 + 8000 + 4000)),
    ],
)
def test_a_strategy_divides_what_it_shards(strategy, processes, parts):
    found = held(STEP, layered(), strategy, processes, None, False)
    assert (found.weights, found.gradients, found.optimizer, found.reference, found.working) == parts
    assert found.total == sum(parts)


def test_a_step_that_copies_what_trains_may_be_the_peak():
    """Activations need 500 bytes besides the state, or 900; a copy of the gradients 4000, or a share of 1000."""
    assert held(STEP, layered(), Strategy(), 1, None, True).working == 4000
    assert held(STEP, layered(), Strategy("FSDP"), 4, None, True).working == 900 + 32 + 3 * 64


def test_frozen_layers_of_four_bits_lose_the_rest_of_their_bytes():
    """32 weights in blocks and 8 in the head: 4 − 0.5625 bytes each, where they are frozen."""
    policy = layered()
    policy.network["head"].requires_grad_(True)
    policy.network["layers"].requires_grad_(False)
    assert held(STEP, policy, Strategy(), 1, "nf4", False).weights == 4000 - int(32 * 3.4375)


def test_what_fits_is_the_fastest_way_and_the_typed_one_where_it_is_as_fast():
    typed = ["modality=ti2t", "init=null", "data.train.size=16", "data.val.size=2"]
    free = planned(*typed, "memory_gib=1").typed
    found = planned(
        *typed, "algo.ref_sync={every_n_steps:4,mixup:0.5}", f"memory_gib={free.held.total / 0.9 / GIB * 1.01}"
    )
    assert found.options[0].way == found.typed.way  # a reference that moves cannot be kept
    tight = planned(*typed, f"memory_gib={free.held.total / 0.9 / GIB * 0.7}")
    assert not tight.typed.fits(tight.device)
    best = tight.options[0]
    assert best.fits(tight.device) and best.way.micro < 16 and not best.way.checkpointing and best.way.rank == 0
    assert best.way.differs(tight.typed.way) == [
        f"loader.micro_batch_size={best.way.micro}",
        "model.reference=kept",  # less to hold and a quarter less to compute
    ]


def test_the_command_to_type_is_what_was_typed_with_what_fits():
    typed = ["modality=ti2t", "init=null", "data.train.size=16", "data.val.size=2", "show=0", "memory_gib=0.015"]
    code, out, err = forked.call("aa_lightning.check", *typed)
    assert code == 0, err
    out = " ".join(out.split())
    assert "what fits into 0.015 GiB of a device as fast as an NVIDIA RTX 4090" in out
    assert (
        "type: python -m aa_lightning.train modality=ti2t init=null data.train.size=16 data.val.size=2 loader."
        in out.replace("\n", " ")
    )


def test_where_nothing_fits_the_smallest_need_is_told(capsys):
    check(
        composed("modality=ti2t", "init=null", "data.train.size=16", "show=0", "memory_gib=0.001", config_name="check")
    )
    out = " ".join(capsys.readouterr().out.split())
    assert "nothing fits into 0.001 GiB" in out and "the smallest need is 0.00" in out


def test_a_model_whose_step_needs_numbers_says_so(capsys):
    check(
        composed(
            "model=tiny_qwen3_moe", "modality=t2t", "init=null", "data.train.size=16", "show=0", config_name="check"
        )
    )
    assert "memory and time of tiny:qwen3_moe cannot be told beforehand" in capsys.readouterr().out


def test_a_device_is_the_smallest_card_with_the_memory_or_the_one_that_is_named():
    assert device_of(None, 24, "auto").name.endswith("RTX 4090")
    assert device_of(None, 80, "auto").name.endswith("A100 80GB")
    h100 = device_of("h100", None, "auto")
    assert (h100.memory, h100.flop_per_s(True)) == (int(79.2 * GIB), pytest.approx(0.4 * 989e12))


def test_the_rate_of_this_machine_is_that_of_products(monkeypatch):
    """1024³ products and sums in a second are 2.1 GFLOP/s, of which training reaches 80 %."""
    monkeypatch.undo()
    clock = iter(range(100))
    monkeypatch.setattr(devices.time, "perf_counter", lambda: float(next(clock)))
    assert device_of(None, None, "cpu").flop_per_s(False) == pytest.approx(0.8 * 2 * 1024**3)
