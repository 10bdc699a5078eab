"""Devices that train: how much memory one has, and how fast it computes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
_OF_PEAK = 0.4  # that training reaches: 38 to 43 % of the peak in bfloat16 on H100s (2407.21783 table 4)
_OF_PRODUCTS = {
    "cuda": 0.55,
    "cpu": 0.8,
}  # the same of what large products reach: 40 of their 73 % of the peak; measured
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


@dataclass(frozen=True)
class Device:
    """One that trains.

    Attributes:
        name: for people.
        kind: cuda or cpu.
        memory: bytes.
        flop_per_s: whether arithmetic is of 16 bits → what training reaches.
    """

    name: str
    kind: str
    memory: int
    flop_per_s: Callable[[bool], float]


# by what `card` says: GiB that a program gets, dense TFLOP/s in bfloat16 and in float32 of NVIDIA's data sheets
CARDS = {
    "rtx4090": ("NVIDIA RTX 4090", 23.5, 165, 83),
    "l40s": ("NVIDIA L40S", 44.5, 362, 92),
    "a100": ("NVIDIA A100 80GB", 79.2, 312, 19.5),
    "h100": ("NVIDIA H100 SXM", 79.2, 989, 67),
    "h200": ("NVIDIA H200", 139.8, 989, 67),
}


def device_of(card: str | None, gib: float | None, accelerator: str) -> Device:
    """The device that a plan is made for.

    Args:
        card: of `CARDS`; None: the smallest that has `gib`, or what is here.
        gib: of memory; None: what the device has.
        accelerator: `trainer.accelerator`.
    """
    if card is None and gib is None:
        return _here(accelerator)
    if card is None:
        card = next((key for key, (_, has, *_) in CARDS.items() if has >= 0.9 * gib), "h200")
    name, has, half, single = CARDS[card]
    if gib is not None:
        name = f"a device as fast as an {name}"
    return Device(
        name, "cuda", int((gib or has) * GIB), lambda in_half: (half if in_half else single) * 1e12 * _OF_PEAK
    )


def _here(accelerator: str) -> Device:
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        return Device(torch.cuda.get_device_name(), "cuda", memory, lambda in_half: _measured("cuda", in_half))
    return Device("this machine", "cpu", _host_memory(), lambda in_half: _measured("cpu", in_half))


def _host_memory() -> int:
    """Bytes that the machine has, or that its container may take."""
    known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    texts = [Path(path).read_text(encoding="utf-8").strip() for path in _LIMITS if Path(path).is_file()]
    return min(known + [int(text) for text in texts if text.isdigit()])


def _measured(kind: str, in_half: bool) -> float:
    """FLOP/s that training reaches, told by the best of a few large products of matrices."""
    import torch

    side = 8192 if kind == "cuda" else 1024
    a = torch.randn(side, side, device=kind, dtype=torch.bfloat16 if in_half else torch.float32)

    def product() -> float:
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        return time.perf_counter() - start

    return 2 * side**3 / min(product() for _ in range(6)) * _OF_PRODUCTS[kind]
