"""The task: addition of two numbers below 1000, written as people write it ("47+385=432").

A fixed set of problems is held out. Training never draws one of them, nor the same two numbers in the other
order.
"""

import random

import torch

LIMIT = 1000
PROMPT_LENGTH = 9  # <s>, three digits, "+", three digits, "="
SEQUENCE_LENGTH = 14  # and up to four digits and </s>
IGNORED = -100  # the label of a position that the loss leaves out


def write(a, b):
    """One problem in the form it has in test.json."""
    return {"prompt": f"{a}+{b}=", "answer": str(a + b)}


def hold_out(count, seed):
    """`count` pairs of different numbers, drawn evenly."""
    generator = random.Random(seed)
    pairs = {}
    while len(pairs) < count:
        a, b = generator.randrange(LIMIT), generator.randrange(LIMIT)
        pairs.setdefault((min(a, b), max(a, b)), (a, b))
    return list(pairs.values())


class TrainingProblems:
    """Endless batches of (input ids, labels), int64 [batch, SEQUENCE_LENGTH], padded on the right.

    Labels are IGNORED except at the answer and the </s> behind it; they stand at the token itself, unshifted.
    """

    def __init__(self, tokenizer, held_out, seed):
        self.tokenizer = tokenizer
        self.held_out = {frozenset(pair) for pair in held_out}
        self.generator = random.Random(seed)

    def batch(self, size):
        rows = [self._row(*self._draw()) for _ in range(size)]
        ids, labels = zip(*rows)
        return torch.tensor(ids), torch.tensor(labels)

    def _draw(self):
        while True:
            pair = (self._number(), self._number())
            if frozenset(pair) not in self.held_out:
                return pair

    def _number(self):
        """One in five is drawn by its length first, or short numbers would be too rare to learn."""
        if self.generator.random() < 0.2:
            return self.generator.randrange(10 ** self.generator.randint(1, 3))
        return self.generator.randrange(LIMIT)

    def _row(self, a, b):
        return encode_row(self.tokenizer, write(a, b))


def encode_row(tokenizer, problem):
    """(ids, labels) of one problem, two lists of SEQUENCE_LENGTH."""
    prompt = [tokenizer.bos_token_id] + tokenizer.characters(problem["prompt"])
    answer = tokenizer.characters(problem["answer"]) + [tokenizer.eos_token_id]
    padding = SEQUENCE_LENGTH - len(prompt) - len(answer)
    ids = prompt + answer + [tokenizer.pad_token_id] * padding
    labels = [IGNORED] * len(prompt) + answer + [IGNORED] * padding
    return ids, labels
