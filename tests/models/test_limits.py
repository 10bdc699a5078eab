"""What a checkpoint brings to be interpreted, a chat template, has limits of time and memory."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from torch.utils.data import DataLoader

from aa_lightning.models.token import chat_template as chat
from aa_lightning.models.token.chat_template import ChatTemplate
from aa_lightning.models.token.limits import BeyondLimits, limited


class Template:
    """A processor and tokenizer whose chat template takes its time for some prompts."""

    chat_template, name_or_path, eos_token_id = "…", "org/model", 1
    all_special_ids: tuple[int, ...] = ()

    def __call__(self, text, add_special_tokens):
        return {"input_ids": []}

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        said = "".join(str(message["content"]) for message in messages)
        if "slow" in said:
            time.sleep(5)
        return said


def prompt(words):
    from aa_lightning.types import Prompt

    return Prompt(id="7", messages=[{"role": "user", "content": [{"type": "text", "text": words}]}])


@pytest.fixture
def quick(monkeypatch):
    """The same limits in a twentieth of the time."""
    monkeypatch.setattr(chat, "limited", lambda: limited(0.1))


def test_a_template_that_takes_too_long_is_named_with_its_model_and_what_to_type(quick):
    template = ChatTemplate(Template(), Template(), as_lists=False)
    assert template.prompt(prompt("quick")) == "quick"
    said = r"chat template of org/model takes more than 0.1 s to write row 7: .* model.chat_template=<file.jinja>"
    with pytest.raises(ValueError, match=said):
        template.prompt(prompt("slow"))


class Rows:
    """A data set that renders in its worker."""

    def __init__(self):
        self.template = ChatTemplate(Template(), Template(), as_lists=False)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.template.prompt(prompt(["quick", "slow"][index]))


def test_the_limit_holds_in_data_workers(quick):
    rows = iter(DataLoader(Rows(), num_workers=1, batch_size=None, multiprocessing_context="fork"))
    assert next(rows) == "quick"
    with pytest.raises(ValueError, match="takes more than 0.1 s"):
        next(rows)


def test_memory_is_limited_and_given_back():
    with pytest.raises(BeyondLimits, match="more than 0.1 GiB of memory"), limited(gib=0.1):
        bytearray(2**33)  # no free piece of this process's own is so large
    assert len(bytearray(2**28)) == 2**28


def test_timers_and_handlers_of_others_go_on():
    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.15)
        with limited(5.0):
            time.sleep(0.05)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 0.12
        time.sleep(0.2)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_in_another_thread_what_runs_runs_to_its_end():
    done = []

    def work():
        with limited(0.01):
            time.sleep(0.05)
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]
