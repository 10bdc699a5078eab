"""Ctrl-C and SIGTERM in training: a step is ended and kept before the run stops."""

from __future__ import annotations

from typing import Any

import lightning as L

from aa_lightning.system import signals


class Stopping(L.Callback):
    """Keeps signals from interrupting a step; `SteadyCheckpoint` writes a checkpoint at its end, and stops.

    Lightning's own handler runs a collective inside the handler, which can deadlock with the collective that other ranks are
    in. It gives way to ours where a command listens.
    """

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if not signals.is_listening():
            return
        connector = trainer._signal_connector
        register = connector.register_signal_handlers

        def register_and_listen() -> None:
            register()
            signals.listen()

        connector.register_signal_handlers = register_and_listen

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        signals.end_if_asked()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        signals.keep(True)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        signals.keep(False)
        signals.end_if_asked()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        signals.keep(False)
