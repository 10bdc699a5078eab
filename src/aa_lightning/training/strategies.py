"""One process, DDP, FSDP2 and DeepSpeed ZeRO, on GPUs and on CPUs, behind four functions.

`shard_policy` and `place_reference` set a run up; `whole_weights` and `whole_state_dict` give sharded weights back
whole, for generation and for export. The strategy classes are what conf/strategy/ names.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node

from aa_lightning.models.diffusion.denoiser import Denoiser
from aa_lightning.models.reference import Reference
from aa_lightning.models.token.towers import release_towers
from aa_lightning.types import LogLikelihood

# sharding hangs its hooks on the tensors that a forward returns, and looks for them in registered containers only
register_pytree_node(
    LogLikelihood,
    lambda value: ([value.terms, value.mask, value.statistic, value.measures], value.scale),
    lambda leaves, scale: LogLikelihood(*leaves, scale),
)

_FUSED = ("cpu", "cuda")  # devices that have AdamW in one kernel


class DDP(DDPStrategy):
    """Whole weights on every process, gradients averaged.

    Args:
        timeout_minutes: after which a process that waits for a lost one gives up.
        find_unused_parameters: needed where a step leaves a part of the model unused. Batches without pictures do not:
            a companion row passes through the tower.
    """

    def __init__(self, timeout_minutes: float = 30, find_unused_parameters: bool = False):
        super().__init__(timeout=timedelta(minutes=timeout_minutes), find_unused_parameters=find_unused_parameters)


class FSDP(ModelParallelStrategy):
    """Weights, gradients and optimiser state sharded by `fully_shard` (FSDP2); no tensor parallelism.

    Args:
        timeout_minutes: as for DDP.
        sharded_checkpoints: a folder with a shard per process, instead of one file that loads anywhere.
    """

    def __init__(self, timeout_minutes: float = 30, sharded_checkpoints: bool = False):
        super().__init__(
            data_parallel_size="auto",
            tensor_parallel_size=1,
            save_distributed_checkpoint=sharded_checkpoints,
            timeout=timedelta(minutes=timeout_minutes),
        )

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes  # Lightning's "auto" would be the nodes alone
        super().setup_environment()


class DeepSpeed(DeepSpeedStrategy):
    """ZeRO 1, 2 or 3, on CPUs too.

    Args:
        stage: 1 shards the optimiser's state, 2 gradients as well, 3 weights as well.
        offload: keep the optimiser's state, and in stage 3 the weights, in host memory.
        timeout_minutes: as for DDP.
    """

    def __init__(self, stage: int, offload: bool = False, timeout_minutes: float = 30):
        super().__init__(
            stage=stage,
            offload_optimizer=offload,
            offload_parameters=offload and stage == 3,
            timeout=timedelta(minutes=timeout_minutes),
            logging_level=40,
        )

    def setup_environment(self) -> None:
        self.precision_plugin = _ExactInputs(self.precision_plugin.precision)
        if not isinstance(self.accelerator, CPUAccelerator):
            super().setup_environment()
            return
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        # Lightning's CPU devices have no index, and DeepSpeed wants one per process
        self.parallel_devices = [torch.device("cpu", k) for k in range(len(self.parallel_devices))]
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # plain gloo, no C++ build at run time
        super(DeepSpeedStrategy, self).setup_environment()  # DDP's: the check left out here is for CUDA alone

    def backward(self, closure_loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        # Lightning has divided the loss by the accumulated micro-batches already
        return super().backward(closure_loss, optimizer, *args, scale_wrt_gas=False, **kwargs)


class _ExactInputs(DeepSpeedPrecision):
    """Leaves batches alone: bfloat16 masks and counts would no longer be exact above 256."""

    def convert_input(self, data: Any) -> Any:
        return data


# ---------------------------------------------------------------- setting up


def shard_policy(trainer: L.Trainer, policy: nn.Module) -> None:
    """Shard a policy's networks where the strategy is FSDP; nothing to do elsewhere. May be called again.

    Args:
        policy: each of its children is called as a whole, and becomes a root of its own.
    """
    if _gathers(trainer.strategy):
        release_towers(policy)
    if isinstance(trainer.strategy, FSDP):
        for network in policy.children():
            _shard(network, trainer.strategy)
        check_sharded(policy)


def check_sharded(policy: nn.Module) -> None:
    """Refuse weights that FSDP left whole: there would be no error later, each rank would train its own.

    Raises:
        TypeError: names of such weights.
    """
    from torch.distributed.tensor import DTensor

    whole = [name for name, parameter in policy.named_parameters() if not isinstance(parameter, DTensor)]
    if whole:
        raise TypeError(
            f"{type(policy).__name__} has weights that strategy=fsdp does not shard: {', '.join(whole[:3])}; they "
            "belong to no child module, whose forward would gather them. Move them into one, or type strategy=ddp"
        )


def place_policy(trainer: L.Trainer, policy: nn.Module) -> None:
    """Put a policy where it computes, before the strategy's own set-up does, which then finds it there."""
    trainer.strategy.precision_plugin.convert_module(policy)
    policy.to(trainer.strategy.root_device)


def reshard(policy: nn.Module) -> None:
    """Shard again what forward passes without a backward pass left whole: a checkpoint is restored into shards."""
    from torch.distributed.fsdp import FSDPModule

    for module in policy.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def place_reference(trainer: L.Trainer, policy: nn.Module) -> None:
    """Put a policy's frozen reference where its weights are needed: on the device, or sharded like the policy's.

    The reference is no registered submodule, so neither Lightning nor the engines see it: it has no part in
    checkpoints, gradients or the optimiser. Called once, after the strategy's own set-up.
    """
    references = [value for value in vars(policy).values() if isinstance(value, Reference)]
    for network in [network for reference in references for network in reference.modules()]:
        if _gathers(trainer.strategy):
            release_towers(network)
        _place_frozen(trainer.strategy, network)


def fuses_steps(trainer: L.Trainer, trained: Sequence[nn.Parameter]) -> bool:
    """Tell whether AdamW can take its step in one pass: whole tensors of numbers on a device that has the kernel, and nobody
    who refuses to clip gradients for such a step (Lightning, in mixed precision) or keeps weights elsewhere (DeepSpeed)."""
    if trainer.precision.endswith("-mixed") or isinstance(trainer.strategy, DeepSpeed):
        return False
    return all(type(p) is nn.Parameter and p.is_floating_point() and p.device.type in _FUSED for p in trained)


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a model, layers of decoders and towers: the outermost lists of two or more modules of one
    class. What is gathered at a time when a model is sharded."""
    found: list[nn.Module] = []
    for child in model.children():
        kinds = {type(block) for block in child} if isinstance(child, nn.ModuleList) and len(child) > 1 else set()
        called = len(kinds) == 1 and kinds != {nn.ModuleList}  # lists of lists are called one layer at a time
        found += list(child) if called else blocks(child)
    return found


def _gathers(strategy: Any) -> bool:
    """Tell whether weights are gathered for each call of a module."""
    return isinstance(strategy, FSDP) or (isinstance(strategy, DeepSpeed) and strategy.zero_stage_3)


def _shard(network: nn.Module, strategy: FSDP) -> None:
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    if isinstance(network, FSDPModule):
        return
    mesh = strategy.device_mesh["data_parallel"]
    for block in blocks(network):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
    if isinstance(network, Denoiser):  # its chains are read step by step, and not by its forward
        register_fsdp_forward_method(network, "action_logprobs")


def _place_frozen(strategy: Any, network: nn.Module) -> None:
    strategy.precision_plugin.convert_module(network)
    if isinstance(strategy, FSDP):
        network.to(strategy.root_device)
        _shard(network, strategy)
    elif isinstance(strategy, DeepSpeed):
        _place_beside_engine(strategy, network)
    else:
        network.to(strategy.root_device)


def _place_beside_engine(strategy: DeepSpeed, network: nn.Module) -> None:
    """ZeRO-3 gets an engine of its own without optimiser; its hooks stay on the network and gather as it runs."""
    if strategy.deepspeed_engine.bfloat16_enabled():
        for parameter in network.parameters():  # buffers stay, as in the engine: rotary frequencies need their digits
            parameter.data = parameter.data.to(torch.bfloat16)
    if not strategy.zero_stage_3:
        network.to(strategy.root_device)
        return
    import deepspeed

    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": strategy.config["zero_optimization"]}
    kept = {key: strategy.config[key] for key in ("bf16", "fp16") if key in strategy.config}
    deepspeed.initialize(
        args=argparse.Namespace(device_rank=strategy.root_device.index),
        model=network,
        config={**config, **kept},
        model_parameters=[],
        dist_init_required=False,
    )


# ---------------------------------------------------------------- whole again


def whole_weights(trainer: L.Trainer, policy: nn.Module) -> AbstractContextManager[None]:
    """Inside, every process holds all weights of a policy and may call it as often as it likes, without the others.

    Generation needs it: with responses of different lengths the ranks' gathers would no longer meet. It costs one whole
    copy per process. All ranks must enter and leave; inside there must be no gradient.
    """
    if isinstance(trainer.strategy, FSDP):
        return _unsharded(policy)
    if isinstance(trainer.strategy, DeepSpeed) and trainer.strategy.zero_stage_3:
        return _gathered(trainer.strategy.deepspeed_engine, policy)
    return nullcontext()


def whole_state_dict(trainer: L.Trainer, policy: nn.Module) -> dict[str, Tensor]:
    """The whole weights of a policy in host memory, on rank 0; empty on the others. All ranks must call it."""
    if isinstance(trainer.strategy, FSDP):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        return get_model_state_dict(policy, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if isinstance(trainer.strategy, DeepSpeed) and trainer.strategy.zero_stage_3:
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(policy.parameters())):
            return _copied(policy)
    return _copied(policy)


def _copied(policy: nn.Module) -> dict[str, Tensor]:
    first = not dist.is_initialized() or dist.get_rank() == 0
    return {name: tensor.detach().cpu().clone() for name, tensor in policy.state_dict().items()} if first else {}


@contextmanager
def _unsharded(policy: nn.Module) -> Iterator[None]:
    from torch.distributed.fsdp import FSDPModule

    sharded = [module for module in policy.modules() if isinstance(module, FSDPModule)]
    for network in policy.children():  # or its blocks, called before it ever was, would take themselves for roots
        if isinstance(network, FSDPModule):
            network._get_fsdp_state()._lazy_init()
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.set_reshard_after_forward(True, recurse=False)
            module.reshard()


@contextmanager
def _gathered(engine: Any, policy: nn.Module) -> Iterator[None]:
    """ZeRO-3's hooks would gather and drop weights that are whole already, so they are off meanwhile."""
    import deepspeed
    from deepspeed.runtime.zero.parameter_offload import DeepSpeedZeRoOffload

    trains = not isinstance(engine.optimizer, DeepSpeedZeRoOffload)
    offload = engine.optimizer.parameter_offload if trains else engine.optimizer
    with deepspeed.zero.GatheredParameters(list(policy.parameters())):
        for parameter in offload.module.parameters():
            parameter.ds_active_sub_modules.clear()
        for hook in offload.forward_hooks + offload.backward_hooks:
            hook.remove()
        offload.forward_hooks, offload.backward_hooks = [], []
        try:
            yield
        finally:
            offload._register_deepspeed_module(offload.module)
