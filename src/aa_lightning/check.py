"""python -m aa_lightning.check: what would be trained, before anything is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aa_lightning.launch.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aa_lightning.assembly.planning import Plan
    from aa_lightning.assembly.survey import Found


@command("check")
def main(cfg: DictConfig) -> None:
    """
    Show what a run would train on: examples with their supervised tokens in green, lengths, dropped rows with their
    reasons; and which ways to train fit into a device, with memory and time of a step. Every row is decoded and encoded as
    training does; no weights are loaded.

      python -m aa_lightning.check algo=dpo modality=ti2t
      python -m aa_lightning.check data=local data.train.path=my.jsonl model=llava_1_5_7b
      python -m aa_lightning.check data=rlaif_v data.limit=100 data.on_bad_row=skip
      python -m aa_lightning.check model=llava_1_5_7b data=rlaif_v memory_gib=24
    """
    from aa_lightning.system.console import quiet, show_progress

    quiet()
    show_progress(cfg.trainer.enable_progress_bar)
    check(cfg)


def check(cfg: DictConfig) -> Found:
    """Read every row as training would, and print what is found.

    Args:
        cfg: composed from conf/check.yaml.

    Raises:
        ValueError: parts that cannot work together, or rows at which training would stop.
    """
    from aa_lightning.assembly import inspection
    from aa_lightning.assembly.compatibility import check_compatible
    from aa_lightning.assembly.data import data_options
    from aa_lightning.assembly.policy import build_algorithm, check_model
    from aa_lightning.assembly.survey import read_all
    from aa_lightning.system.console import say

    algorithm = build_algorithm(cfg)
    data = data_options(cfg)
    check_compatible(cfg, algorithm, data.serving(algorithm))
    encoder = check_model(cfg)
    found = read_all(cfg, algorithm, data, encoder)
    say(f"model {cfg.model.path}, algorithm {cfg.algo_name}")
    for line in (*inspection.columns(data, cfg.data), *found.sentences(algorithm.supervision)):
        say(line)
    if found.loader.batch_size < cfg.loader.batch_size:
        say(f"a step takes {found.loader.batch_size} prompts and not {cfg.loader.batch_size}: the data has no more")
    for line in inspection.left_out(found.left_out):
        say(line)
    _show(cfg, algorithm, encoder, found)
    if found.stopping:
        rows = ", ".join(row.row for row in found.stopping[:5])
        raise ValueError(
            f"training would stop at {len(found.stopping)} of the rows left out ({rows}): mend them, or leave them out, "
            "named and counted, with data.on_bad_row=skip, and with loader.overlong=skip what is too long"
        )
    return found


def _show(cfg: DictConfig, algorithm: Any, encoder: Any, found: Found) -> None:
    """The first examples, and for token models their lengths and ways to train on them."""
    from aa_lightning.assembly import inspection
    from aa_lightning.assembly.planning import CannotPlan, plan
    from aa_lightning.system.console import paint, say, show_table

    for example in found.first(cfg.show):
        paint(inspection.painted(encoder, example))
    lengths = found.trained.lengths
    if lengths.prompts:
        show_table("tokens", ["", "median", "95 %", "longest"], lengths.rows())
        try:
            _show_plan(plan(cfg, algorithm, encoder, found))
            if algorithm.draws_responses:
                say(
                    "that is learning from responses as long as may be drawn (rollout.max_new_tokens); the memory and time "
                    "of drawing and scoring them come on top"
                )
        except CannotPlan as error:
            say(str(error))


def _show_plan(found: Plan) -> None:
    from aa_lightning.assembly.devices import GIB
    from aa_lightning.assembly.planning import COLUMNS
    from aa_lightning.launch.hydra_jobs import train_command
    from aa_lightning.system.console import say, show_table

    typed, best, device = found.typed, found.options[0], found.device
    show_table(
        f"each process, with {typed.way.micro} of the longest rows in a forward pass",
        ["memory", "GiB"],
        typed.held.rows(),
    )
    say(f"about {found.tflop:.3g} TFLOP and {typed.seconds:.3g} s a step on {device.name}")
    size = f"{device.memory / GIB:.3g} GiB of {device.name}"
    show_table(f"what fits into {size}" if found.fits else f"nothing fits into {size}", COLUMNS, found.rows())
    say("rows: in a forward pass; again: activations are computed again (model.gradient_checkpointing)")
    if not found.fits:
        say(
            f"the smallest need is {best.held.total / GIB:.3g} GiB: more processes share it (strategy=fsdp trainer.devices=…)"
        )
    changes = best.way.differs(typed.way)
    if changes:
        say(f"type: {train_command(changes)}")


if __name__ == "__main__":
    main()
