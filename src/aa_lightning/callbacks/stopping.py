"""SIGTERM ends a run at once, as Ctrl-C does."""

from __future__ import annotations

import signal
import threading

import lightning as L

from aa_lightning.workers import Terminated


class Stopping(L.Callback):
    """Takes SIGTERM from Lightning, which waits for the end of a step and calls a collective inside the handler, where it
    meets whatever the other ranks were at. Nothing needs a last step here: the newest checkpoint is always whole."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _stop)  # Lightning puts back at its end what it found before


def _stop(number: int, frame: object) -> None:
    raise Terminated
