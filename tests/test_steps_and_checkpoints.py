"""The step of the optimiser in one kernel, and checkpoints that are written without a copy in memory."""

from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from aa_lightning.training import strategies
from aa_lightning.training.callbacks.checkpoint import SteadyCheckpoint

PLAIN = SimpleNamespace(precision="32-true", strategy=None)


@pytest.mark.parametrize(
    ("trainer", "weight", "fused"),
    [
        (PLAIN, nn.Parameter(torch.zeros(2)), True),
        (SimpleNamespace(precision="bf16-mixed", strategy=None), nn.Parameter(torch.zeros(2)), False),
        (PLAIN, nn.Parameter(torch.zeros(2, dtype=torch.bfloat16)), True),
        (SimpleNamespace(precision="16-mixed", strategy=None), nn.Parameter(torch.zeros(2)), False),
        (
            SimpleNamespace(precision="32-true", strategy=object.__new__(strategies.DeepSpeed)),
            nn.Parameter(torch.zeros(2)),
            False,
        ),
        (PLAIN, nn.Parameter(torch.zeros(2, device="meta")), False),
        (PLAIN, nn.Parameter(torch.zeros(2, dtype=torch.complex64)), False),
        (PLAIN, type("Sharded", (nn.Parameter,), {})(torch.zeros(2)), False),
    ],
)
def test_adamw_takes_one_pass_over_whole_tensors_where_nobody_looks_in_between(trainer, weight, fused):
    assert strategies.fuses_steps(trainer, [nn.Parameter(torch.zeros(1)), weight]) is fused


class _Clipped(L.LightningModule):
    """One weight that is stepped as policies are."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def training_step(self, batch, index):
        return (self.weight - 3).square().sum()

    def configure_optimizers(self):
        fused = strategies.fuses_steps(self.trainer, [self.weight])
        return torch.optim.AdamW([self.weight], lr=0.5, fused=fused or None)

    def train_dataloader(self):
        return [0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_every_precision_that_a_strategy_sets(precision, tmp_path):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    module = _Clipped()
    trainer = L.Trainer(
        accelerator="cpu", precision=precision, max_steps=1, gradient_clip_val=1.0, default_root_dir=tmp_path, **quiet
    )
    trainer.fit(module)
    torch.testing.assert_close(module.weight.detach(), torch.tensor([0.5, 0.5]))


def test_the_fused_step_is_that_of_adamw_to_rounding():
    torch.manual_seed(0)
    start, gradients = torch.randn(50, 7), torch.randn(20, 50, 7)
    ended = []
    for fused in (True, False):
        weight = nn.Parameter(start.clone())
        optimizer = torch.optim.AdamW([weight], lr=1e-2, weight_decay=0.1, fused=fused)
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()
        ended.append(weight.detach())
    torch.testing.assert_close(*ended, rtol=1e-6, atol=1e-6)


class _Large(L.LightningModule):
    """A network of 64 MiB whose step moves all of it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2**24))

    def training_step(self, batch, index):
        return self.weight[:8].sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _kib(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field))


def test_writing_a_checkpoint_takes_no_copy_of_it_in_memory(tmp_path, monkeypatch):
    """The peak is counted from the moment that a checkpoint is asked for: a copy would add 64 MiB."""
    save, grown = L.Trainer.save_checkpoint, []

    def measured(trainer, *given):
        Path("/proc/self/clear_refs").write_text("5")
        before = _kib("VmRSS")
        save(trainer, *given)
        grown.append(_kib("VmHWM") - before)

    monkeypatch.setattr(L.Trainer, "save_checkpoint", measured)
    trainer = L.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[SteadyCheckpoint(tmp_path, every_n_steps=1, keep=1)],
    )
    trainer.fit(_Large(), torch.utils.data.DataLoader([0, 1]))
    (kept,) = tmp_path.glob("*.ckpt")
    assert kept.stat().st_size > 2**26 and len(grown) == 2
    assert max(grown) < 8 * 2**10, grown
