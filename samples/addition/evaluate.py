#!/usr/bin/env python3
"""Measures every checkpoint with transformers and writes sample.json and expected.json beside this file.

`--check` writes nothing; it exits with 1 where a measurement differs from what the files say.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from checkpoint import sha256, write_json
from problems import IGNORED, PROMPT_LENGTH, SEQUENCE_LENGTH, encode_row
from tokenizer import ByteTokenizer

NEW_TOKENS = SEQUENCE_LENGTH - PROMPT_LENGTH
EXPECTED_PROMPTS = 8


def load(directory):
    """The model as a user loads it, its bf16 weights widened to fp32; and the tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    return model.eval(), AutoTokenizer.from_pretrained(directory)


def greedy(model, tokenizer, prompt):
    """(prompt ids, ids generated up to and with </s>)."""
    inputs = tokenizer(prompt, return_tensors="pt")
    output = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
    length = inputs.input_ids.shape[1]
    return output[0, :length].tolist(), output[0, length:].tolist()


def accuracy(model, tokenizer, problems):
    """The share of problems whose greedy text is the answer, and that end there."""
    solved = 0
    for problem in problems:
        ids = greedy(model, tokenizer, problem["prompt"])[1]
        ended = ids[-1] == tokenizer.eos_token_id
        solved += ended and tokenizer.decode(ids, skip_special_tokens=True) == problem["answer"]
    return solved / len(problems)


def loss(model, problems):
    """Nats a token over the answers and the </s> behind each."""
    ids, labels = zip(*(encode_row(ByteTokenizer, problem) for problem in problems))
    logits = model(input_ids=torch.tensor(ids), use_cache=False).logits[:, :-1].flatten(0, 1)
    labels = torch.tensor(labels)[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED).item()


def measure(directory, problems):
    model, tokenizer = load(directory)
    return {
        "directory": f"{directory.parent.name}/{directory.name}",
        "step": int(directory.name.removeprefix("step_")),
        "loss": round(loss(model, problems), 4),
        "accuracy": round(accuracy(model, tokenizer, problems), 4),
        "sha256": sha256(directory / "model.safetensors"),
    }


def changed_share(before, after):
    """The share of bf16 elements whose bits differ between two directories."""
    old, new = (load_file(directory / "model.safetensors") for directory in (before, after))
    changed = sum((old[name].view(torch.int16) != new[name].view(torch.int16)).sum().item() for name in new)
    return round(changed / sum(tensor.numel() for tensor in new.values()), 5)


def describe(root, problems):
    """The content of sample.json. Each step of the fine-tuning is compared with the one before it."""
    checkpoints = sorted((root / "checkpoints").iterdir())
    finetune = sorted((root / "finetune").iterdir())
    tuned = []
    for before, after in zip([checkpoints[-1], *finetune], finetune):
        tuned.append({**measure(after, problems), "changed_share": changed_share(before, after)})
    return {"checkpoints": [measure(directory, problems) for directory in checkpoints], "finetune": tuned}


def expected(root, problems):
    """The content of expected.json: greedy ids of the first, the middle and the last checkpoint."""
    checkpoints = sorted((root / "checkpoints").iterdir())
    entries = []
    for directory in (checkpoints[0], checkpoints[len(checkpoints) // 2], checkpoints[-1]):
        model, tokenizer = load(directory)
        entries.append({"directory": f"checkpoints/{directory.name}", "prompts": []})
        for problem in problems[:EXPECTED_PROMPTS]:
            prompt_ids, ids = greedy(model, tokenizer, problem["prompt"])
            entry = {"prompt": problem["prompt"], "prompt_ids": prompt_ids, "greedy_ids": ids}
            entries[-1]["prompts"].append(entry)
    return {"max_new_tokens": NEW_TOKENS, "checkpoints": entries}


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent)
    arguments = parser.parse_args()
    torch.set_num_threads(2)

    root = arguments.root
    problems = json.loads((root / "test.json").read_text())
    files = {"sample.json": describe(root, problems), "expected.json": expected(root, problems)}
    for name, content in files.items():
        if not arguments.check:
            write_json(root / name, content)
        elif json.loads((root / name).read_text()) != content:
            sys.exit(f"{name} differs from what the checkpoints give")


if __name__ == "__main__":
    main()
