#!/usr/bin/env python3
"""Trains the sample and writes its checkpoints: `python train.py [--out DIRECTORY]`. README.md says the rest.

One seed decides everything; two runs with the same torch on the same kind of machine write the same bytes.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from checkpoint import CONFIG, to_bf16, write_checkpoint, write_json
from problems import IGNORED, TrainingProblems, hold_out, write
from tokenizer import ByteTokenizer

SEED = 20260
HELD_OUT = 200
BATCH = 256
STEPS = 2500
WARMUP_STEPS = 100
PEAK_LEARNING_RATE = 2e-3
CHECKPOINT_STEPS = [0, 250, 300, 350, 400, 500, 700, 1000, 1500, STEPS]
FINETUNE_STEPS = 8
FINETUNE_LEARNING_RATE = 1e-6


def learning_rate(step):
    """Linear warm-up, then half a cosine down to a hundredth of the peak."""
    if step < WARMUP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)
    return PEAK_LEARNING_RATE * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def optimise(model, optimiser, batch):
    """One optimiser step on fp32 weights; returns the loss, in nats a token of the answers."""
    ids, labels = batch
    logits = model(input_ids=ids, use_cache=False).logits
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


def train(model, problems, out):
    """The training run proper; writes step_N with the weights as they are after N steps."""
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    started = time.monotonic()
    recent = 0.0
    for step in range(STEPS + 1):
        if step in CHECKPOINT_STEPS:
            write_checkpoint(out / "checkpoints" / f"step_{step:05}", to_bf16(model))
        if step == STEPS:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step)
        loss = optimise(model, optimiser, problems.batch(BATCH))
        recent = loss if step == 0 else 0.95 * recent + 0.05 * loss
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {recent:.4f} {time.monotonic() - started:.0f} s", flush=True)


def finetune(model, problems, out):
    """Goes on from the fp32 master weights, as trainers do, not from their bf16 roundings."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=FINETUNE_LEARNING_RATE, weight_decay=0.0)
    for step in range(1, FINETUNE_STEPS + 1):
        loss = optimise(model, optimiser, problems.batch(BATCH))
        write_checkpoint(out / "finetune" / f"step_{step:03}", to_bf16(model))
        print(f"fine-tuning step {step} loss {loss:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    out = parser.parse_args().out
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)

    held_out = hold_out(HELD_OUT, SEED)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "test.json", [write(a, b) for a, b in held_out])
    problems = TrainingProblems(ByteTokenizer, held_out, SEED + 1)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).to(torch.float32)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    train(model, problems, out)
    finetune(model, problems, out)


if __name__ == "__main__":
    main()
