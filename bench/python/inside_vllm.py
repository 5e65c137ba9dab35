#!/usr/bin/env python3
"""Reloads inside vLLM: its own Llama, quantized by torchao, with Liveweight's decorator and with vLLM's own, in alternating
rounds, from mapped safetensors files.

    inside_vllm.py [--layers 22] [--rounds 3] [--scheme int8 fp8]

Needs vLLM 0.32, torchao and safetensors. Peak memory is of pages of the process's own (RssAnon), in separate rounds."""
import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import vllm_reload as example  # noqa: E402  (says to vLLM that this is a CPU)
import torch  # noqa: E402
from llama import HEAD, HEADS, HIDDEN, INTERMEDIATE, KV_HEADS, VOCABULARY, make_checkpoint  # noqa: E402
from memory import PeakMemory  # noqa: E402
from reload import measure  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

DECORATORS = {"liveweight": example.OURS, "vllm": example.VLLMS_OWN}


def hugging_face_name(name):
    layer, _, rest = name.rpartition("layers.")[2].partition(".")
    if not name.startswith("layers."):
        return name if name == "lm_head.weight" else f"model.{name}"
    inner = "self_attn." if rest[0] in "qkvo" else "mlp." if "proj" in rest else ""
    return f"model.layers.{layer}.{inner}{rest}"


def write_checkpoint(directory, layers, seed):
    weights = {hugging_face_name(name): tensor for name, tensor in make_checkpoint(layers, seed).items()}
    save_file(weights, Path(directory) / "model.safetensors")
    configuration = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_size": HIDDEN,
                     "intermediate_size": INTERMEDIATE, "num_hidden_layers": layers, "num_attention_heads": HEADS, "head_dim": HEAD,
                     "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY, "max_position_embeddings": 2048,
                     "rms_norm_eps": 1e-5, "tie_word_embeddings": False}
    (Path(directory) / "config.json").write_text(json.dumps(configuration))
    return sum(tensor.nbytes for tensor in weights.values())


def compare(directory, scheme, rounds, source_bytes):
    models = {way: example.load(directory, scheme) for way in DECORATORS}

    def reload(way):
        example.AutoWeightsLoader.load_weights = DECORATORS[way]
        models[way].load_weights(example.weights_of(directory))
    seconds, peaks = {way: [] for way in models}, {}
    for way in models:
        reload(way)
    equal = example.same(*(example.bits_of(model) for model in models.values()))
    for _ in range(rounds):
        for way in models:
            seconds[way].append(measure(lambda way=way: reload(way)))
    for way in models:
        with PeakMemory() as peak:
            reload(way)
        peaks[way] = peak.extra_bytes
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    return {"scheme": scheme, "bits": equal, "seconds": medians, "ratio": medians["vllm"] / medians["liveweight"],
            "source_gb_per_second": source_bytes / medians["liveweight"] / 1e9, "extra_peak_bytes": peaks}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scheme", nargs="+", choices=example.SCHEMES, default=list(example.SCHEMES))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        source_bytes = write_checkpoint(directory, arguments.layers, 1)
        example.start_vllm(example.engine_config(directory, arguments.scheme[0]))
        for scheme in arguments.scheme:
            print(json.dumps(compare(directory, scheme, arguments.rounds, source_bytes)), flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
