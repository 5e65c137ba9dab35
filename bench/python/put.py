#!/usr/bin/env python3
"""What `put` costs for many small tensors: a model of many small experts, whose tensors of 2 KiB come one by one.

    put.py [--tensors 100000] [--rounds 3]

Needs numpy and ml_dtypes; with torch, tensors of torch are measured too."""
import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import liveweight

HIDDEN, INTERMEDIATE = 32, 32


def configuration(layers, experts):
    return {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "torch_dtype": "bfloat16", "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE, "moe_intermediate_size": INTERMEDIATE, "num_hidden_layers": layers,
            "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64, "max_position_embeddings": 64,
            "num_experts": experts, "num_experts_per_tok": 2, "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 1,
            "eos_token_id": 2}


def shapes(layers, experts):
    yield "model.embed_tokens.weight", (64, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (64, HIDDEN)
    for i in range(layers):
        layer = f"model.layers.{i}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}.{name}.weight", (HIDDEN,)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            yield f"{layer}.self_attn.{name}.weight", (HIDDEN, HIDDEN)
        for name in ("q_norm", "k_norm"):
            yield f"{layer}.self_attn.{name}.weight", (16,)
        yield f"{layer}.mlp.gate.weight", (experts, HIDDEN)
        for e in range(experts):
            for name in ("gate_proj", "up_proj", "down_proj"):
                yield f"{layer}.mlp.experts.{e}.{name}.weight", (HIDDEN, INTERMEDIATE)


def write_model(directory, tensors):
    """Its weights as one safetensors file, written with the standard library."""
    header, end = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    with open(directory / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(array.tobytes())


def measure(model, tensors):
    """Nanoseconds of each `put`, and of the whole update, by tensor."""
    begin = time.perf_counter_ns()
    with model.update() as update:
        put = update.put
        for name, tensor in tensors.items():
            put(name, tensor)
        puts = time.perf_counter_ns() - begin
    return puts / len(tensors) / 1e3, (time.perf_counter_ns() - begin) / len(tensors) / 1e3


def main():
    import ml_dtypes
    import numpy
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tensors", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quant", default="int8_per_channel")
    arguments = parser.parse_args()
    experts = 128
    layers = -(-arguments.tensors // (3 * experts))
    random = numpy.random.default_rng(0)
    arrays = {name: random.normal(0, 0.02, shape).astype(ml_dtypes.bfloat16) for name, shape in shapes(layers, experts)}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "config.json").write_text(json.dumps(configuration(layers, experts)))
        write_model(directory, arrays)
        model = liveweight.Model.load(directory, quant=arguments.quant)
    kinds = {"numpy": arrays}
    try:
        import torch
        kinds["torch"] = {name: torch.from_numpy(array.view(numpy.uint16)).view(torch.bfloat16) for name, array in arrays.items()}
    except ImportError:
        pass
    for kind, tensors in kinds.items():
        rounds = [measure(model, tensors) for _ in range(arguments.rounds)]
        print(json.dumps({"tensors": len(tensors), "of": kind, "put_us": statistics.median(r[0] for r in rounds),
                          "update_us_per_tensor": statistics.median(r[1] for r in rounds)}))


if __name__ == "__main__":
    main()
