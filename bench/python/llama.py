"""A Llama's parameters with fused loaders, as engines have them; nothing here runs the model."""
import torch
from torch import nn

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD, VOCABULARY = 2048, 5632, 32, 4, 64, 32000


def rows_loader(param, loaded, first=0):
    param.data.narrow(0, first, loaded.shape[0]).copy_(loaded)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        options = {"bias": False, "dtype": torch.bfloat16}
        self.qkv_proj = nn.Linear(HIDDEN, (HEADS + 2 * KV_HEADS) * HEAD, **options)
        self.o_proj = nn.Linear(HEADS * HEAD, HIDDEN, **options)
        self.gate_up_proj = nn.Linear(HIDDEN, 2 * INTERMEDIATE, **options)
        self.down_proj = nn.Linear(INTERMEDIATE, HIDDEN, **options)
        self.input_layernorm = nn.RMSNorm(HIDDEN, dtype=torch.bfloat16)
        self.post_attention_layernorm = nn.RMSNorm(HIDDEN, dtype=torch.bfloat16)


class Llama(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, HIDDEN, dtype=torch.bfloat16)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.norm = nn.RMSNorm(HIDDEN, dtype=torch.bfloat16)
        self.lm_head = nn.Linear(HIDDEN, VOCABULARY, bias=False, dtype=torch.bfloat16)
        for parameter in self.parameters():
            parameter.weight_loader = rows_loader
            parameter.requires_grad_(False)


# Checkpoint name -> the fused parameter, and the row where it begins.
PLACES = {"q_proj": ("qkv_proj", 0), "k_proj": ("qkv_proj", HEADS * HEAD), "v_proj": ("qkv_proj", (HEADS + KV_HEADS) * HEAD),
          "gate_proj": ("gate_up_proj", 0), "up_proj": ("gate_up_proj", INTERMEDIATE)}
ROWS = {"q_proj": HEADS * HEAD, "k_proj": KV_HEADS * HEAD, "v_proj": KV_HEADS * HEAD, "gate_proj": INTERMEDIATE,
        "up_proj": INTERMEDIATE}


def make_checkpoint(layers, seed):
    """Random weights by checkpoint names."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.empty(*shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
    weights = {"embed_tokens.weight": random(VOCABULARY, HIDDEN), "lm_head.weight": random(VOCABULARY, HIDDEN),
               "norm.weight": random(HIDDEN)}
    for i in range(layers):
        for name, rows in ROWS.items():
            weights[f"layers.{i}.{name}.weight"] = random(rows, HIDDEN)
        weights[f"layers.{i}.o_proj.weight"] = random(HIDDEN, HEADS * HEAD)
        weights[f"layers.{i}.down_proj.weight"] = random(HIDDEN, INTERMEDIATE)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"layers.{i}.{name}.weight"] = random(HIDDEN)
    return weights


class Loader:
    def __init__(self, module):
        self.module = module


@torch.no_grad()
def load_weights(self, weights, *, mapper=None):
    updated = set()
    parameters = dict(self.module.named_parameters())
    for name, tensor in weights:
        first, parts = 0, name.split(".")
        if parts[-2] in PLACES:
            parts[-2], first = PLACES[parts[-2]]
        name = ".".join(parts)
        parameters[name].weight_loader(parameters[name], tensor, first)
        updated.add(name)
    return updated
