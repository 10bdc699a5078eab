"""The keys of each section of a configuration, their types and bounds. The defaults stand in conf/, once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
STRICT = ConfigDict(extra="forbid")
hyperparameters = dataclass(frozen=True, kw_only=True, config=STRICT)  # of a part that configurations name
Mebibytes = Annotated[int, Field(gt=0, strict=True)]  # true is no number of them
Keeping = Literal["auto", False] | Mebibytes
BY_NAME = BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)  # loss=ipo is {name: ipo}


@dataclass(config=STRICT, kw_only=True)
class Loader:
    batch_size: PositiveInt
    micro_batch_size: PositiveInt | None
    eval_batch_size: PositiveInt
    workers: NonNegativeInt | Literal["auto"]
    cache_mib: NonNegativeInt
    max_prompt_tokens: PositiveInt
    max_response_tokens: PositiveInt
    overlong: Literal["error", "skip", "truncate"]
    group_by_length: bool

    @property
    def kept_bytes(self) -> int:
        """Bytes of a data set that each process may keep: data workers share the bound."""
        return self.cache_mib * 2**20 // max(self.given_workers, 1)

    @property
    def given_workers(self) -> int:
        """Processes that read ahead from the first step on."""
        return 0 if self.workers == "auto" else self.workers


@dataclass(config=STRICT, kw_only=True)
class Endpoint:
    url: str | None
    model: str | None
    timeout: PositiveFloat
    tries: PositiveInt
    parallel: PositiveInt
    key_env: str | None


@dataclass(config=STRICT, kw_only=True)
class Rollouts:
    responses: PositiveInt
    prompts: PositiveInt | None
    batch_size: PositiveInt | None
    epochs: PositiveInt
    max_new_tokens: PositiveInt
    temperature: PositiveFloat
    skip_equal: bool
    refill: NonNegativeInt
    engine: Literal["own", "continuous", "vllm", "openai"]
    endpoint: Endpoint
    stop_on_alarm: bool


@dataclass(config=STRICT, kw_only=True)
class Optimizer:
    lr: NonNegativeFloat
    betas: tuple[Decay, Decay]
    weight_decay: NonNegativeFloat
    eps: PositiveFloat
    schedule: Literal["constant", "linear", "cosine"]
    warmup_ratio: Share
    min_lr_ratio: Share


@dataclass(config=STRICT, kw_only=True)
class Evaluation:
    before: bool
    num_examples: NonNegativeInt
    num_generations: NonNegativeInt
    max_new_tokens: PositiveInt
    samples: NonNegativeInt
    blank_media_control: bool


@dataclass(config=STRICT, kw_only=True)
class Checkpoint:
    every_n_steps: PositiveInt
    keep: PositiveInt


@dataclass(config=STRICT, kw_only=True)
class Lora:
    rank: NonNegativeInt
    alpha: NonNegativeFloat
    dropout: Share
    target: str


@dataclass(config=STRICT, kw_only=True)
class Speech:
    encoder: str | None
    decoder: str | None
    speaker: str | None
    max_steps: PositiveInt


@dataclass(config=STRICT, kw_only=True)
class Components:
    language: str | None
    vision: str | None
    audio: str | None
    projector: Literal["mlp", "linear"]
    vision_layer: int | None
    audio_layer: int | None
    audio_pool: PositiveInt
    read_video: bool
    seed: int


@dataclass(config=STRICT, kw_only=True)
class Model:
    likelihood: Literal["exact"]
    family: str
    path: str
    tiny: dict[str, Any]
    components: Components | None
    revision: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
    attention: Literal["sdpa", "eager", "flash_attention_2"]
    prefix_sharing: Literal["auto", "always", "never"]
    trust_remote_code: bool
    gradient_checkpointing: bool
    quantization: Literal["nf4", "int8"] | None
    freeze: list[Literal["vision", "audio", "projector", "language", "talker"]]
    keep_features: Keeping
    dropout: Share
    chat_template: str | None
    frames: PositiveInt | None
    image_size: PositiveInt | None
    image_decoder: str | None
    speech: Speech
    lora: Lora
    reference: Literal["auto", "frozen", "adapter", "kept", "none"]
    critic: Literal["head", "own"]
    critic_init: str | None


@dataclass(config=STRICT, kw_only=True)
class RewardSettings:
    """Settings of every reward, beside its own arguments."""

    weight: float
    seconds: PositiveFloat | None
    on_fault: Literal["error", "skip", "retry"]
    retries: PositiveInt
    apart: bool


@dataclass(config=STRICT, kw_only=True)
class Logger:
    csv: bool
    tensorboard: bool
    others: list[dict[str, Any]]


WHY = {  # a bound of a key is what it is
    "optimizer.betas": "a running mean with 1 takes nothing in, and its correction 1 − βᵗ divides by 0",
    "optimizer.eps": "with 0 the step of a weight that has no gradient yet is 0/0",
}
SECTIONS: dict[str, type] = {
    "loader": Loader,
    "rollout": Rollouts,
    "optimizer": Optimizer,
    "evaluation": Evaluation,
    "checkpoint": Checkpoint,
    "logger": Logger,
}


@dataclass(config=STRICT, kw_only=True)
class Train:
    """The keys outside all sections."""

    seed: int
    init: str | None
    default_stage: str | None
    num_threads: PositiveInt | None
    resume: str | None
    trust: bool
    modality_name: str
    answers_in: Literal["text", "image", "audio"]
    algo_name: str | None
    output: Annotated[str, Field(min_length=1)]


@dataclass(config=STRICT, kw_only=True)
class Evaluate(Train):
    run: str | None


@dataclass(config=STRICT, kw_only=True)
class Generate(Train):
    run: str | None
    prompt: str | None
    image: str | list[str] | None
    audio: str | list[str] | None
    video: str | list[str] | None
    system: str | None
    n: PositiveInt
    temperature: NonNegativeFloat
    max_new_tokens: PositiveInt


@dataclass(config=STRICT, kw_only=True)
class Check(Train):
    show: NonNegativeInt
    measure: PositiveInt | None
    card: Literal["rtx4090", "l40s", "a100", "h100", "h200"] | None
    memory_gib: PositiveFloat | None


PRECISIONS = (  # of Lightning's Trainer
    *("32-true", "32", "bf16-mixed", "bf16", "bf16-true", "16-mixed", "16", "64-true", "64"),
    *("transformer-engine", "transformer-engine-float16"),
)
COMMANDS: dict[str, type] = {"train": Train, "evaluate": Evaluate, "generate": Generate, "check": Check}
