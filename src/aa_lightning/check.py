"""python -m aa_lightning.check: what would be trained, before anything is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aa_lightning.launch.command import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from aa_lightning.assembly.survey import Found


@command("check")
def main(cfg: DictConfig) -> None:
    """
    Show what a run would train on: examples with their supervised tokens in green, lengths, dropped rows with their
    reasons, and an estimate of memory and arithmetic. Every row is decoded and encoded as training does; no weights are
    loaded.

      python -m aa_lightning.check algo=dpo modality=ti2t
      python -m aa_lightning.check data=local data.train.path=my.jsonl model=llava_1_5_7b
      python -m aa_lightning.check data=rlaif_v data.limit=100 data.on_bad_row=skip
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
    """The first examples, and for token models their lengths and what a step would cost."""
    from aa_lightning.assembly import inspection
    from aa_lightning.assembly.policy import estimate_cost
    from aa_lightning.system.console import paint, say, show_table

    for example in found.first(cfg.show):
        paint(inspection.painted(encoder, example))
    lengths = found.trained.lengths
    if lengths.prompts:
        show_table("tokens", ["", "median", "95 %", "longest"], lengths.rows())
        cost, micro = estimate_cost(cfg, algorithm, lengths)
        show_table(f"one process, {micro} prompts per forward pass (estimate)", ["memory", "GiB"], cost.rows())
        say(f"about {cost.tflop:.3g} TFLOP per forward and backward pass")


if __name__ == "__main__":
    main()
