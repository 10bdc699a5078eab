"""What transformers, peft and diffusers make of exported folders by themselves. This file must not import aa_lightning.

    python alone.py <questions.json> <answers.json>

A question names a folder, what it is (`text`, `scores`, `pictures`) and, beside it, a file of inputs. The answer is a list
of numbers: log-probabilities of the response's tokens, a reward, rewards of several answers, or denoising errors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch


def load_text(folder: Path):
    """Model and processor; an adapter is put on the base that it names."""
    import peft
    import transformers as hf

    adapter = folder / "adapter_config.json"
    base = json.loads(adapter.read_text())["base_model_name_or_path"] if adapter.is_file() else folder
    multimodal = "vision_config" in hf.AutoConfig.from_pretrained(base).to_dict()
    kind = hf.AutoModelForImageTextToText if multimodal else hf.AutoModelForCausalLM
    model = kind.from_pretrained(base, dtype=torch.float32)
    if adapter.is_file():
        model = peft.PeftModel.from_pretrained(model, folder)
    return model.eval(), hf.AutoProcessor.from_pretrained(folder.parent if folder.name == "adapter" else folder)


def inputs_of(processor, question: dict) -> tuple[dict, torch.Tensor]:
    """The tensors of prompt and response as the checkpoint's own processor makes them, and the response's tokens."""
    from PIL import Image

    pictures = [Image.open(path) for path in question["pictures"]]
    content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": question["prompt"]}]
    multimodal = processor.__class__.__name__.endswith("Processor")
    messages = [{"role": "user", "content": content if multimodal else question["prompt"]}]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokenizer = processor.tokenizer if multimodal else processor
    special = not (tokenizer.bos_token and text.startswith(tokenizer.bos_token))
    named = {"images": [pictures]} if pictures else {}
    inputs = dict(processor(text=[text], **named, add_special_tokens=special, return_tensors="pt"))
    response = torch.tensor([question["response"]])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], response], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for key in inputs.keys() & {"mm_token_type_ids", "token_type_ids", "cross_attention_mask"}:
        last = inputs[key][:, -1:]  # a text token, as those of the response
        inputs[key] = torch.cat([inputs[key], *[last] * response.shape[1]], 1)
    return inputs, response


def text_answer(folder: Path, question: dict) -> list[float]:
    from safetensors.torch import load_file

    model, processor = load_text(folder)
    inputs, response = inputs_of(processor, question)
    output = model(**inputs, output_hidden_states=True)
    head = folder / "score.safetensors"
    if head.is_file():
        return [(output.hidden_states[-1][0, -1] @ load_file(head)["score.weight"][0]).item()]
    logprobs = output.logits[0, -response.shape[1] - 1 : -1].log_softmax(-1)
    return logprobs.gather(-1, response[0, :, None])[:, 0].tolist()


def score_answer(folder: Path, question: dict) -> list[float]:
    """Scores of conversations as a batch padded on the right, and again on the left."""
    import transformers as hf
    from PIL import Image

    model = hf.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    processor = hf.AutoProcessor.from_pretrained(folder)
    multimodal = processor.__class__.__name__.endswith("Processor")
    tokenizer = processor.tokenizer if multimodal else processor
    pictures = [Image.open(path) for path in question["pictures"]]
    content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": question["prompt"]}]
    asked = {"role": "user", "content": content if multimodal else question["prompt"]}
    answers = [[{"type": "text", "text": answer}] if multimodal else answer for answer in question["answers"]]
    chats = [[asked, {"role": "assistant", "content": answer}] for answer in answers]
    texts = [processor.apply_chat_template(chat, tokenize=False) for chat in chats]
    special = not (tokenizer.bos_token and texts[0].startswith(tokenizer.bos_token))
    named = {"images": [pictures] * len(texts)} if pictures else {}
    scores = []
    for side in ("right", "left"):
        tokenizer.padding_side = side
        inputs = processor(text=texts, **named, add_special_tokens=special, padding=True, return_tensors="pt")
        assert not inputs["attention_mask"].all(), "the answers shall differ in length"
        scores += model(**inputs).logits.mean(-1).tolist()
    return scores


def picture_answer(folder: Path, question: dict) -> list[float]:
    """Minus the mean squared error of the v-prediction at each given draw."""
    from diffusers import StableDiffusionPipeline
    from safetensors import safe_open

    adapter = folder / "pytorch_lora_weights.safetensors"
    if adapter.is_file():
        with safe_open(adapter, "pt") as file:
            base = json.loads(file.metadata()["lora_adapter_metadata"])["unet.base_model_name_or_path"]
        pipeline = StableDiffusionPipeline.from_pretrained(base)
        pipeline.load_lora_weights(folder)
    else:
        pipeline = StableDiffusionPipeline.from_pretrained(folder)
    given = torch.load(question["inputs"])
    tokens = pipeline.tokenizer([question["prompt"]], padding="max_length", truncation=True, return_tensors="pt")
    context = pipeline.text_encoder(tokens.input_ids).last_hidden_state
    errors = []
    for timestep, noise in zip(given["timesteps"], given["noise"], strict=True):
        level = pipeline.scheduler.alphas_cumprod[timestep]
        noisy = level**0.5 * given["latents"] + (1 - level) ** 0.5 * noise
        wanted = level**0.5 * noise - (1 - level) ** 0.5 * given["latents"]
        predicted = pipeline.unet(noisy[None], timestep, context).sample[0]
        errors.append(-(predicted - wanted).square().mean().item())
    return errors


@torch.no_grad()
def main(questions: str, answers: str) -> None:
    torch.set_num_threads(1)
    found = []
    for question in json.loads(Path(questions).read_text()):
        answer = {"pictures": picture_answer, "scores": score_answer, "text": text_answer}[question["kind"]]
        found.append(answer(Path(question["folder"]), question))
    assert "aa_lightning" not in sys.modules
    Path(answers).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
