"""vLLM by its documented calls, and models behind endpoints, against doubles of both."""

import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch
import transformers as hf

from aa_lightning.assembly.data import data_options
from aa_lightning.configuration.schema import Endpoint
from aa_lightning.engines.engine import gap
from aa_lightning.engines.openai import OpenAI
from aa_lightning.engines.vllm import Vllm
from aa_lightning.rewards.http import Refused
from aa_lightning.types import Prompt, Sampling, text
from tests.contract.support import batch_of, borrow, make, read_once
from tests.rewards import servers


def asked(model: str, count: int = 2):
    _, policy, cfg = borrow(model)
    return (
        policy,
        read_once(data_options(cfg), "val", "prompt")[:count],
        batch_of(cfg, policy, "prompt", slice(0, count)),
    )


# ---------------------------------------------------------------- vLLM


class Double:
    """What `vllm.LLM` does with tokens, by the library's own `generate` on the folder that it is given."""

    def __init__(self, model, **settings):
        self.folder, self.settings, self.calls = model, settings, []
        self.collective_rpc("reload_weights")

    def collective_rpc(self, name):
        self.calls.append(name)
        self.model = hf.AutoModelForCausalLM.from_pretrained(self.folder).eval()

    def reset_prefix_cache(self):
        self.calls.append("reset_prefix_cache")

    @torch.no_grad()
    def generate(self, prompts, how, use_tqdm):
        self.how, self.prompts = how, prompts
        return [self._row(torch.tensor([one["prompt_token_ids"]]), own) for one, own in zip(prompts, how, strict=True)]

    def _row(self, ids, how):
        torch.manual_seed(how.seed)
        found = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=how.max_tokens,
            do_sample=True,
            temperature=how.temperature,
            top_k=0,
            num_return_sequences=how.n,
            eos_token_id=how.stop_token_ids[0],
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        scores = torch.stack(found.scores, 1).log_softmax(-1)
        outputs = []
        for index, tokens in enumerate(found.sequences[:, ids.shape[1] :].tolist()):
            ends = how.stop_token_ids[0] in tokens
            tokens = tokens[: tokens.index(how.stop_token_ids[0]) + 1] if ends else tokens
            known = [{t: SimpleNamespace(logprob=scores[index, i, t].item())} for i, t in enumerate(tokens)]
            reason = "stop" if ends else "length"
            outputs.append(SimpleNamespace(index=index, token_ids=tokens, logprobs=known, finish_reason=reason))
        return SimpleNamespace(prompt_token_ids=ids[0].tolist(), outputs=outputs[::-1])


@pytest.fixture
def vllm(monkeypatch):
    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = Double, SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)


def test_vllm_draws_with_the_weights_of_now_and_an_adapter_is_added_to_them(vllm):
    _, policy, cfg = make("tiny_qwen2", "dpo", "model.lora.rank=2")
    policy.eval()
    batch, prompts = batch_of(cfg, policy, "prompt", slice(0, 2)), read_once(data_options(cfg), "val", "prompt")[:2]
    engine, sampling = Vllm(), Sampling(max_new_tokens=5, temperature=0.7)
    for _ in range(2):
        found = engine.generate(policy, prompts, batch, 3, sampling)
        assert found.batch.response["input_ids"].shape[:2] == (2, 3)
        assert gap(policy.action_logprobs(found), found.logprobs, found.mask).item() < 1e-4
        with torch.no_grad():
            for name, weight in policy.named_parameters():
                if "lora" in name:
                    weight.add_(0.1 * torch.randn_like(weight))
        stale = gap(policy.action_logprobs(found), found.logprobs, found.mask).item()
        assert stale > 1e-3
    double = engine._llm
    assert double.settings["logprobs_mode"] == "processed_logprobs" and double.settings["generation_config"] == "vllm"
    assert double.calls == ["reload_weights", "reload_weights", "reset_prefix_cache"]
    how = double.how[1]
    assert (how.n, how.top_k, how.top_p, how.temperature) == (3, -1, 1.0, 0.7)
    seeded = replace(sampling, seeds=(5, 6))
    drawn = [engine.generate(policy, prompts, batch, 3, seeded).batch.response["input_ids"] for _ in range(2)]
    assert [one.seed for one in double.how] == [5, 6] and torch.equal(*drawn)


def test_answers_of_vllm_to_another_prompt_are_refused(vllm, monkeypatch):
    policy, prompts, batch = asked("tiny_qwen2")
    monkeypatch.setattr(
        Double, "generate", lambda *args, **given: [SimpleNamespace(prompt_token_ids=[1], outputs=[])] * 2
    )
    with pytest.raises(ValueError, match=f"prompt {prompts[0].id} has .* tokens here and 1 others in vLLM"):
        Vllm().generate(policy, prompts, batch, 1, Sampling(max_new_tokens=2))


# ---------------------------------------------------------------- endpoints


def endpoint(url: str) -> OpenAI:
    return OpenAI(Endpoint(url=f"{url}/v1", model="teacher", timeout=10, tries=1, parallel=3, key_env=None))


def test_a_model_behind_an_endpoint_is_asked_once_for_each_response_and_its_words_become_tokens():
    policy, prompts, batch = asked("tiny_llava")
    said = ["red", "The circle is blue.", "two"]

    def behave(handler, body):
        number = len(handler.server.asked) % 3
        reason = "length" if number == 1 else "stop"
        handler.answer({"choices": [{"message": {"content": said[number]}, "finish_reason": reason}]})

    with servers.serving(behave) as server:
        found = endpoint(server.url).generate(policy, prompts, batch, 3, Sampling(max_new_tokens=9, temperature=0.7))
        assert len(server.asked) == 6 and {path for path, _, _ in server.asked} == {"/v1/chat/completions"}
    bodies = [body for _, _, body in server.asked]
    assert len({body["seed"] for body in bodies}) == 6 and {body["temperature"] for body in bodies} == {0.7}
    assert {part["type"] for body in bodies for part in body["messages"][-1]["content"]} == {"image_url", "text"}
    words = sorted(response[0]["text"] for row in found.responses for response in row)
    assert words == sorted(said * 2)
    cut = [[response[0]["text"] == said[1] for response in row] for row in found.responses]
    assert torch.equal(found.ended, ~torch.tensor(cut))
    assert not OpenAI.reports and not found.logprobs.any()
    assert policy.action_logprobs(found).shape == found.mask.shape


def test_words_longer_than_the_limit_are_cut_and_have_no_end():
    policy, prompts, batch = asked("tiny_qwen2", 1)
    behave = servers.says(lambda body: "red blue red blue red blue red blue")
    told = lambda handler, body: handler.answer(  # noqa: E731
        {"choices": [{"message": {"content": "red blue red blue red blue"}, "finish_reason": "stop"}]}
    )
    with servers.serving(told) as server:
        found = endpoint(server.url).generate(policy, prompts, batch, 1, Sampling(max_new_tokens=3))
    assert found.batch.response["input_ids"].shape == (1, 1, 3) and not found.ended.any()
    with servers.serving(behave) as server, pytest.raises(Refused, match="there is no choices"):
        endpoint(server.url).generate(policy, prompts, batch, 1, Sampling(max_new_tokens=3))


def test_turns_of_text_are_sent_as_text():
    policy, _, batch = asked("tiny_qwen2", 1)
    messages = [
        {"role": "system", "content": [text("Be brief.")]},
        {"role": "user", "content": [text("Hi"), text("!")]},
    ]
    told = lambda handler, body: handler.answer(  # noqa: E731
        {"choices": [{"message": {"content": "red"}, "finish_reason": "stop"}]}
    )
    with servers.serving(told) as server:
        endpoint(server.url).generate(policy, [Prompt(id="0", messages=messages)], batch, 1, Sampling())
    sent = server.asked[0][2]["messages"]
    assert sent == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi!"}]
