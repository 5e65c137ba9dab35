#!/usr/bin/env python3
"""Teaches the sample model addition by GRPO, with answers from quantized live models that follow the trainer.

    grpo.py [--steps 80] [--push dense|delta] [--out DIRECTORY] [--schemes none fp8_per_block int8_per_channel int4_per_group]

Every step draws questions, lets each live model answer its share of them, rewards an answer that is right, takes a few steps
on the policy gradient with advantages relative to each question's answers, and pushes the new weights into every live
model: all of them, or the elements whose bf16 changed. It plots three things: the reward; how far the trainer's and the
samplers' log-probabilities of the same tokens are apart, by scheme; and what a push costs. Needs torch and transformers, and
gnuplot for the chart."""
import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

import liveweight

SAMPLE = Path(__file__).resolve().parents[1] / "samples/addition"
sys.path.insert(0, str(SAMPLE))
from tokenizer import ByteTokenizer  # noqa: E402  (the sample's own)

START = SAMPLE / "checkpoints/step_00400"  # right about every second time, when sampled
SCHEMES = ["none", "fp8_per_block", "int8_per_channel", "int4_per_group"]
QUESTIONS, ANSWERS, LONGEST = 64, 8, 5  # of a step; of a question; tokens of an answer and its end
LEARNING_RATE, CLIP, UPDATES = 1e-4, 0.2, 4


def ask(generator):
    a, b = generator.randrange(1000), generator.randrange(1000)
    return f"{a}+{b}=", str(a + b)


def answer(live, questions, seed):
    """ANSWERS completions of each question, question by question."""
    prompts = [prompt for prompt, _ in questions for _ in range(ANSWERS)]
    return live.generate(prompts, max_new_tokens=LONGEST, temperature=1.0, seed=seed)


def batch_of(questions, completions):
    """ids [rows, length], which of them are answers, and the sampler's log-probabilities of those."""
    rows, answers, sampled = [], [], []
    for i, completion in enumerate(completions):
        prompt = [ByteTokenizer.bos_token_id, *ByteTokenizer.characters(questions[i // ANSWERS][0])]
        padding = 9 + LONGEST - len(prompt) - len(completion.tokens)
        rows.append([*prompt, *completion.tokens] + [ByteTokenizer.pad_token_id] * padding)
        answers.append([False] * len(prompt) + [True] * len(completion.tokens) + [False] * padding)
        sampled.append([0.0] * len(prompt) + list(completion.logprobs) + [0.0] * padding)
    return torch.tensor(rows), torch.tensor(answers), torch.tensor(sampled)


def log_probabilities(trainer, ids):
    """Of every token but the first, by the trainer."""
    logits = trainer(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]


def advantages(rewards):
    groups = rewards.view(-1, ANSWERS)
    return ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).view(-1)


def policy_loss(now, sampled, mask, advantage):
    """The clipped policy gradient, a mean over tokens."""
    ratio = (now - sampled).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
    return -(gain * mask).sum() / mask.sum()


def improve(trainer, optimiser, batches, rewards):
    """UPDATES steps on shares of the answers; gives each batch's mean distance of log-probabilities before them."""
    ids, answers, sampled = (torch.cat(parts) for parts in zip(*batches))
    mask, sampled, advantage = answers[:, 1:], sampled[:, 1:], advantages(rewards)[:, None]
    with torch.no_grad():
        distance = (log_probabilities(trainer, ids) - sampled).abs()
    for rows in torch.randperm(len(ids)).chunk(UPDATES):
        loss = policy_loss(log_probabilities(trainer, ids[rows]), sampled[rows], mask[rows], advantage[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
        optimiser.step()
    sizes = [len(batch[0]) for batch in batches]
    return [float((d * m).sum() / m.sum()) for d, m in zip(distance.split(sizes), mask.split(sizes))]


def rounded(trainer):
    """What live models take: the checkpoint's dtype."""
    return {name: parameter.detach().to(torch.bfloat16, copy=True) for name, parameter in trainer.named_parameters()}


def push_dense(live, weights, version):
    with live.update(version=version) as update:
        for name, tensor in weights.items():
            update.put(name, tensor)


def push_delta(live, changes, version):
    with live.update(version=version, deltas=True) as update:
        for name, (indices, values) in changes.items():
            update.put_delta(name, indices, values)


def timed(call, *arguments):
    """Milliseconds, and what the call gives."""
    start = time.perf_counter()
    result = call(*arguments)
    return 1e3 * (time.perf_counter() - start), result


class Pusher:
    """Brings the trainer's weights into the live models."""

    def __init__(self, trainer, lives, deltas):
        self.trainer, self.lives, self.deltas = trainer, lives, deltas
        self.before = rounded(trainer)

    def push(self, version):
        """Milliseconds by scheme, of the comparison with the weights before, and the share of elements that changed."""
        weights = rounded(self.trainer)
        milliseconds, changes = timed(lambda: {name: liveweight.diff(self.before[name], new) for name, new in weights.items()})
        changed = sum(len(values) for _, values in changes.values()) / sum(new.numel() for new in weights.values())
        self.before = weights
        push, what = (push_delta, changes) if self.deltas else (push_dense, weights)
        times = {scheme: timed(push, live, what, version)[0] for scheme, live in self.lives.items()}
        for live in self.lives.values() if self.deltas else ():
            live.catch_up()  # behind the commit: nobody waits for it
        return times, milliseconds, changed


def train(arguments):
    generator = random.Random(0)
    torch.manual_seed(0)
    trainer = LlamaForCausalLM.from_pretrained(START, dtype=torch.float32)
    optimiser = torch.optim.AdamW(trainer.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    deltas = arguments.push == "delta"
    lives = {scheme: liveweight.Model.load(START, quant=scheme, version="step 0", mirror=deltas, max_sequences=64)
             for scheme in arguments.schemes}
    pusher = Pusher(trainer, lives, deltas)
    history = []
    for step in range(1, arguments.steps + 1):
        batches, rewards = [], []
        for place, live in enumerate(lives.values()):
            questions = [ask(generator) for _ in range(-(-QUESTIONS // len(lives)))]
            completions = answer(live, questions, seed=1000 * step + 200 * place)
            batches.append(batch_of(questions, completions))
            rewards += [float(c.text == questions[i // ANSWERS][1]) for i, c in enumerate(completions)]
        gaps = improve(trainer, optimiser, batches, torch.tensor(rewards))
        times, compare, changed = pusher.push(f"step {step}")
        history.append({"step": step, "reward": sum(rewards) / len(rewards), "gap": dict(zip(lives, gaps)), "push_ms": times,
                        "compare_ms": compare, "changed": changed})
        print(f"step {step:3}  reward {history[-1]['reward']:.2f}  changed {changed:6.2%}  gap " +
              "  ".join(f"{scheme} {gap:.4f}" for scheme, gap in zip(lives, gaps)), flush=True)
    return history


def plot(history, schemes, out):
    """Three charts in one picture, by gnuplot."""
    if shutil.which("gnuplot") is None:
        print("gnuplot is not installed: no chart", file=sys.stderr)
        return
    lines = [" ".join(map(str, [h["step"], h["reward"], *(h["gap"][s] for s in schemes), *(h["push_ms"][s] for s in schemes)]))
             for h in history]
    (out / "grpo.dat").write_text("\n".join(lines))

    def curves(first):
        return ", ".join(f"'{out}/grpo.dat' using 1:{first + i} with lines lw 2 title '{scheme}' noenhanced"
                         for i, scheme in enumerate(schemes))
    script = f"""set terminal svg size 760,900 background rgb 'white'
set output '{out}/grpo.svg'
set multiplot layout 3,1
set grid; set xlabel 'step'; set key outside right
set ylabel 'share of right answers'; set yrange [0:1]
plot '{out}/grpo.dat' using 1:2 with lines lw 2 title 'reward'
set ylabel 'nats a token, trainer and sampler'; set yrange [0:*]
plot {curves(3)}
set ylabel 'milliseconds a push'
plot {curves(3 + len(schemes))}
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--steps", type=int, default=80, help="of training, each with a push")
    parser.add_argument("--push", choices=["dense", "delta"], default="dense", help="all weights, or the elements that changed")
    parser.add_argument("--out", type=Path, default=Path("/tmp/liveweight-grpo"), help="directory for grpo.json and the chart")
    parser.add_argument("--schemes", nargs="+", default=SCHEMES, help="one live model for each")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    history = train(arguments)
    (arguments.out / "grpo.json").write_text(json.dumps(history, indent=1))
    plot(history, arguments.schemes, arguments.out)
    fifth = max(len(history) // 5, 1)
    first, last = (sum(h["reward"] for h in part) / len(part) for part in (history[:fifth], history[-fifth:]))
    print(f"reward: {first:.2f} in the first fifth of the steps, {last:.2f} in the last; {arguments.out}/grpo.svg")


if __name__ == "__main__":
    main()
