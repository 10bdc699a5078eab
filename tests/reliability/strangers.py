"""Run folders that try to run code, or to write elsewhere. What they would run is harmless: it leaves a file, a marker.

Each is a run folder of a stranger, made of an honest one by a function `spoil(place)`, and the commands that it is about.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

SECRET = "AA_LIGHTNING_TEST_SECRET"
PLANTED = """
from pathlib import Path
Path({marker!r}).touch()

def function(*arguments, **named):
    Path({marker!r}).touch()

class Thing:
    def __init__(self, *arguments, **named):
        Path({marker!r}).touch()
"""
TAG = "!!python/object/apply:pathlib.Path.touch"


@dataclass(frozen=True)
class Place:
    """Where a stranger's folder lies: its run, a folder outside, and the marker that code would leave."""

    run: Path
    outside: Path
    marker: Path

    @property
    def export(self) -> Path:
        return self.run / "export"


@dataclass(frozen=True)
class Stranger:
    """A way to spoil a folder.

    Attributes:
        commands: that it is about.
        refused: whether they refuse it; the others read it as data.
    """

    name: str
    spoil: Callable[[Place], Any]
    commands: tuple[str, ...]
    refused: bool = True


class Code:
    """Pickled, it is a call."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


# ---------------------------------------------------------------- what was typed for the run

_OPENED = ("evaluate", "generate", "resume")
_SETTINGS = {
    "an algorithm": ["algo._target_=planted.Thing"],
    "an algorithm, added": ["+algo._target_=planted.Thing"],
    "an algorithm, forced": ["++algo._target_=planted.Thing"],
    "an algorithm as a mapping": ["algo={_target_: planted.Thing}"],
    "a part of an algorithm": ["+algo.more={_target_: planted.Thing}"],
    "a function as an algorithm": ["algo._target_=planted.function"],
    "a function of Python": ["algo._target_=os.getcwd"],
    "an argument list": ["algo={_target_: planted.function, _args_: [1]}"],
    "a trainer": ["trainer._target_=planted.Thing"],
    "a strategy": ["trainer.strategy={_target_: planted.Thing}"],
    "callbacks": ["+trainer.callbacks=[{_target_: planted.Thing}]"],
    "plugins": ["+trainer.plugins=[{_target_: planted.Thing}]"],
    "a profiler": ["+trainer.profiler={_target_: planted.Thing}"],
    "a logger": ["logger.others=[{_target_: planted.Thing}]"],
    "a logger by its number": ["+logger.others.0._target_=planted.Thing"],
    "a trainer inside an algorithm": ["+algo.more={_target_: lightning.Trainer, default_root_dir: OUTSIDE}"],
    "a function of rows": ["+data.template.function={name: planted.function, arguments: []}"],
    "a module as a function of rows": ["+data.template.function.name=planted"],
    "a function of other rows": ["data.templates={ranking: {function: {name: planted.function}}}"],
    "a function of a part": ["+data.parts={a: {data: {template: {function: {name: planted.function}}}}}"],
    "a decoder of pictures": ["model.image_decoder=planted.Thing"],
    "a decoder of speech": ["model.speech.decoder=planted.function"],
    "an encoder of speech": ["model.speech={encoder: planted.function}"],
    "code beside the weights": ["model.trust_remote_code=true"],
    "addresses": ["data.media.fetch=true"],
    "addresses as a mapping": ["data.media={fetch: true}"],
    "addresses of the machine": ["data.media.fetching.private=true"],
    "media elsewhere": ["data.train.below_root=false"],
    "another run folder": ["hydra.run.dir=OUTSIDE"],
    "another run folder, added": ["+hydra.run.dir=OUTSIDE"],
    "files of Hydra": ["hydra.output_subdir=OUTSIDE"],
    "callbacks of Hydra": ["+hydra.callbacks.more._target_=planted.Thing"],
    "a launcher of Hydra": ["hydra/launcher=planted"],
    "configuration elsewhere": ["hydra.searchpath=[file://OUTSIDE]"],
    "a flag with a folder": ["--config-dir=OUTSIDE"],
    "a flag for a sweep": ["--multirun", "algo.beta=0.1"],
    "a sweep": ["algo.beta=0.1,0.2"],
    "a part taken away": ["~logger"],
    "the environment": [f"data.train.path=${{oc.env:{SECRET}}}"],
    "the environment as a seed": [f"seed=${{oc.decode:${{oc.env:{SECRET}}}}}"],
    "the clock": ["data.train.path=${now:%S}"],
    "an unknown section": ["+planted.key=1"],
    "a group of one's own": ["+planted/group=1"],
    "a package of one's own": ["data@planted=alpaca"],
    "a file as an option": ["algo=../../planted"],
    "a folder of the trainer": ["+trainer.default_root_dir=OUTSIDE"],
    "a profile elsewhere": ["+trainer.profiler=OUTSIDE"],
    "a logger elsewhere": ["logger.others=[{_target_: lightning.pytorch.loggers.WandbLogger, dir: OUTSIDE}]"],
    "trust": ["trust=true", "algo._target_=planted.Thing"],
    "trust, added": ["+trust=true", "++algo._target_=planted.Thing"],
    "no setting": ["planted"],
    "a long setting": ["algo.beta=" + "1" * 30_000],
    "many settings": ["algo.beta=0.1"] * 600,
}


def _typed(items: list[str]) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        file = place.run / ".hydra" / "overrides.yaml"
        honest = yaml.safe_load(file.read_text())
        items_here = [item.replace("OUTSIDE", str(place.outside)) for item in items]
        file.write_text(yaml.safe_dump([*honest, *items_here]))

    return spoil


def _written(name: str, text: str) -> Callable[[Place], None]:
    return lambda place: (place.run / name).write_text(
        text.replace("MARKER", str(place.marker)).replace("SECRET", f"${{oc.env:{SECRET}}}")
    )


_FILES = [
    *(Stranger(f"typed: {name}", _typed(items), _OPENED) for name, items in _SETTINGS.items()),
    Stranger("typed: where it writes", _typed(["output=OUTSIDE"]), _OPENED, refused=False),
    Stranger("typed: a call of YAML", _written(".hydra/overrides.yaml", f"{TAG} [MARKER]"), (*_OPENED, "notebook")),
    Stranger("typed: no list", _written(".hydra/overrides.yaml", "a: 1"), _OPENED),
    Stranger("typed: references", _written(".hydra/overrides.yaml", "- &a [x]\n- *a"), _OPENED),
    Stranger("config: a call of YAML", _written("config.yaml", f"algo: {TAG} [MARKER]"), ("resume", "notebook")),
    Stranger("config: references", _written("config.yaml", "a: &a [x]\nb: *a"), ("resume", "notebook")),
    Stranger(
        "config: the environment",
        lambda place: _changed(place.run / "config.yaml", yaml, {"modality_name": f"${{oc.env:{SECRET}}}"}),
        ("resume", "report", "notebook", "evaluate"),
        refused=False,
    ),
    Stranger("hydra: a call of YAML", _written(".hydra/hydra.yaml", f"hydra: {TAG} [MARKER]"), ("report", "notebook")),
    Stranger(
        "hydra: the environment", _written(".hydra/hydra.yaml", "hydra:\n  job:\n    name: SECRET"), ("report",), False
    ),
]

# ---------------------------------------------------------------- checkpoints


def _checkpoint(place: Place) -> Path:
    return sorted((place.run / "checkpoints").glob("*.ckpt"))[-1]


def _pickled(key: str | None, **how: Any) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        file = _checkpoint(place)
        saved = torch.load(file, weights_only=True)
        code = Code(place.marker)
        torch.save(code if key is None else {**saved, key: code}, file, **how)
        shutil.rmtree(place.export)

    return spoil


def _raw(place: Place) -> None:
    _checkpoint(place).write_bytes(pickle.dumps(Code(place.marker)))
    shutil.rmtree(place.export)


def _sharded(name: str) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        folder = _checkpoint(place)
        folder.unlink()
        folder.mkdir()
        (folder / name).write_bytes(pickle.dumps(Code(place.marker)))

    return spoil


_CHECKPOINTS = [
    Stranger("checkpoint: nothing else", _pickled(None), ("resume", "init", "check")),
    Stranger("checkpoint: settings", _pickled("hyper_parameters"), ("resume", "init")),
    Stranger("checkpoint: callbacks", _pickled("callbacks"), ("resume", "init")),
    Stranger("checkpoint: an old form", _pickled("loops", _use_new_zipfile_serialization=False), ("resume", "init")),
    Stranger("checkpoint: a bare pickle", _raw, ("resume", "init")),
    Stranger("checkpoint: shards", _sharded(".metadata"), ("resume",)),
    Stranger("checkpoint: shards and more", _sharded("meta.pt"), ("resume",)),
]

# ---------------------------------------------------------------- exports

_LOADED = ("evaluate", "generate", "init", "check")


def _changed(file: Path, kind: Any, values: dict[str, Any]) -> None:
    said = {**(kind.safe_load if kind is yaml else kind.loads)(file.read_text()), **values}
    file.write_text(kind.safe_dump(said) if kind is yaml else kind.dumps(said))


def _plant(folder: Path, *names: str, marker: Path) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(PLANTED.format(marker=str(marker)))


def _weights(name: str) -> Callable[[Place], None]:
    def spoil(place: Place) -> None:
        weights = load_file(place.export / "model.safetensors")
        (place.export / "model.safetensors").unlink()
        torch.save({**weights, "more": Code(place.marker)}, place.export / name)

    return spoil


def _mapped(name: str, key: str, kind: str | None = None) -> Callable[[Place], None]:
    """`auto_map` of a file of settings, with the code that it names beside it."""

    def spoil(place: Place) -> None:
        _plant(place.export, "planted.py", marker=place.marker)
        file = place.export / name
        said = json.loads(file.read_text()) if file.is_file() else {}
        said |= {"auto_map": {key: "planted.Thing"}} | ({} if kind is None else {"model_type": kind})
        file.write_text(json.dumps(said))

    return spoil


def _adapter(place: Place, base: str, **settings: Any) -> None:
    shutil.rmtree(place.export)
    place.export.mkdir()
    said = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": base, **settings}
    (place.export / "adapter_config.json").write_text(json.dumps(said))
    torch.save({"more": Code(place.marker)}, place.export / "adapter_model.bin")


def _adapter_of_pickles(place: Place) -> None:
    shutil.copytree(place.export, place.run / "base")
    _adapter(place, str(place.run / "base"))


def _adapter_of_a_module(place: Place) -> None:
    shutil.copytree(place.export, place.run / "base")
    _adapter(place, str(place.run / "base"), megatron_config={"a": 1}, megatron_core="planted")


def _adapter_on_pickles(place: Place) -> None:
    base = place.run / "base"
    shutil.copytree(place.export, base)
    torch.save({**load_file(base / "model.safetensors"), "more": Code(place.marker)}, base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    _adapter(place, str(base))


def _pipeline(place: Place) -> None:
    said = {"_class_name": "StableDiffusionPipeline", "unet": ["planted", "Thing"]}
    (place.export / "model_index.json").write_text(json.dumps(said))


_EXPORTS = [
    Stranger("export: pickled weights", _weights("pytorch_model.bin"), _LOADED[:3]),
    Stranger("export: a model of its own", _mapped("config.json", "AutoModelForCausalLM", "planted"), _LOADED[1:]),
    Stranger("export: a configuration of its own", _mapped("config.json", "AutoConfig", "planted"), _LOADED[1:]),
    Stranger("export: another model", _mapped("config.json", "AutoModelForCausalLM"), _LOADED, refused=False),
    Stranger("export: a tokenizer", _mapped("tokenizer_config.json", "AutoTokenizer"), _LOADED, refused=False),
    Stranger("export: a processor", _mapped("processor_config.json", "AutoProcessor"), _LOADED[1:]),
    Stranger("export: an adapter of pickles", _adapter_of_pickles, ("generate", "init")),
    Stranger("export: an adapter of a module", _adapter_of_a_module, ("generate", "init")),
    Stranger("export: an adapter on pickles", _adapter_on_pickles, ("generate", "init")),
    Stranger("export: a pipeline", _pipeline, ("generate", "init", "check")),
    Stranger(
        "export: a way to generate",
        lambda place: _plant(place.export, "custom_generate/generate.py", marker=place.marker),
        _LOADED,
        refused=False,
    ),
]

# ---------------------------------------------------------------- links


def _linked(name: str) -> Callable[[Place], None]:
    """A link out of the folder, to a file or folder as the honest one has."""

    def spoil(place: Place) -> None:
        here, there = place.run / name, place.outside / Path(name).name
        if here.is_dir():
            shutil.move(here, there)
        else:
            there.write_text(here.read_text() if here.is_file() else "")
            here.unlink(missing_ok=True)
        here.symlink_to(there)

    return spoil


_LINKS = [
    *(
        Stranger(f"link: {name}", _linked(name), ("resume",))
        for name in ("metrics.csv", "train.log", "checkpoints", "export", "summary.json", ".summary.partial", ".hydra")
    ),
    Stranger("link: report.html", _linked("report.html"), ("report", "notebook"), refused=False),
]

STRANGERS = [*_FILES, *_CHECKPOINTS, *_EXPORTS, *_LINKS]
