"""python -m aa_lightning.check: what would be trained, before anything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aa_lightning.launch import command

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("check")
def main(cfg: DictConfig) -> None:
    """
    Show what a run would train on: examples with their supervised tokens in green, lengths, dropped rows with their
    reasons, and an estimate of memory and arithmetic. No weights are loaded.

      python -m aa_lightning.check algo=dpo modality=ti2t
      python -m aa_lightning.check data=local data.train.path=my.jsonl model=llava_1_5_7b
      python -m aa_lightning.check data=rlaif_v data.limit=100 data.on_bad_row=skip
    """
    from aa_lightning import build, inspection
    from aa_lightning.compatible import check_compatible
    from aa_lightning.console import paint, quiet, say, show_progress, show_table

    quiet()
    show_progress(cfg.trainer.enable_progress_bar)
    algorithm = build.build_algorithm(cfg)
    data = build.data_options(cfg).serving(algorithm)
    check_compatible(cfg, algorithm, data)
    examples = build.examples(data, "train", algorithm.supervision)
    say(f"{len(examples)} {algorithm.supervision} rows train, {len(examples.dropped)} are left out")
    if examples.dropped:
        show_table("left out", ["column", "reason", "rows", "which"], inspection.reasons(examples.dropped))
    if cfg.model.likelihood == "bound":
        for index in range(min(cfg.show, len(examples))):
            say(f"row {examples[index].id}: {examples[index].messages}")
        return
    encoder = build.build_encoder(cfg)
    for index in range(min(cfg.show, len(examples))):
        paint(inspection.painted(encoder, examples[index]))
    lengths = inspection.measure(encoder, [examples[i] for i in range(min(cfg.measure, len(examples)))])
    show_table("tokens", ["", "median", "95 %", "longest"], lengths.rows())
    cost, micro = build.estimate_cost(cfg, algorithm, lengths)
    show_table(f"one process, {micro} prompts per forward pass (estimate)", ["memory", "GiB"], cost.rows())
    say(f"about {cost.tflop:.3g} TFLOP per forward and backward pass")


if __name__ == "__main__":
    main()
