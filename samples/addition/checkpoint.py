"""The model's shape, and writing it as a complete Hugging Face directory in bf16."""

import hashlib
import json

import torch
from safetensors.torch import save_file

from tokenizer import VOCAB_SIZE, ByteTokenizer, tokenizer_config, tokenizer_json

# Spelled as transformers 4 does; transformers 5 reads it too.
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": ByteTokenizer.bos_token_id,
    "eos_token_id": ByteTokenizer.eos_token_id,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 320,
    "max_position_embeddings": 64,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pad_token_id": ByteTokenizer.pad_token_id,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": VOCAB_SIZE,
}

GENERATION_CONFIG = {
    "bos_token_id": ByteTokenizer.bos_token_id,
    "eos_token_id": ByteTokenizer.eos_token_id,
    "pad_token_id": ByteTokenizer.pad_token_id,
    "do_sample": False,
    "max_new_tokens": 8,
}


def to_bf16(model):
    """The model's tensors by name, rounded to bf16. The head is tied to the embedding, so it is left out."""
    return {
        name: tensor.detach().to(torch.bfloat16).clone()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }


def write_checkpoint(directory, tensors):
    """Writes weights, configuration and tokenizer, each directory complete in itself."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", CONFIG)
    write_json(directory / "generation_config.json", GENERATION_CONFIG)
    write_json(directory / "tokenizer.json", tokenizer_json())
    write_json(directory / "tokenizer_config.json", tokenizer_config())


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
