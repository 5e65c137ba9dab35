"""Small models of Hugging Face's architectures with random weights, and vLLM's own models made of them, on the CPU."""
import functools
import json
import os
import tempfile
from pathlib import Path

os.environ["VLLM_TARGET_DEVICE"] = "cpu"  # vLLM's wheel is built for GPUs; this makes it load and reload without one
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torchao.core.config import config_to_dict  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402
from vllm.config import set_current_vllm_config  # noqa: E402
from vllm.distributed import init_distributed_environment, initialize_model_parallel  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.model_executor.model_loader import get_model  # noqa: E402

logging.disable_progress_bar()

_COMMON = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
           "vocab_size": 300, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_HEADS = {"head_dim": 32}
_GPT = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 128}
_LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_ROUTED_EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "n_group": 1, "topk_group": 1}
ARCHITECTURES = {
    "apertus": {}, "arcee": {}, "bloom": {"n_layer": 2, "n_head": 4}, "cohere": {}, "cohere2": _HEADS,
    "deepseek_v2": {"num_key_value_heads": 4, "q_lora_rank": None, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
                    "v_head_dim": 32, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
                    "first_k_dense_replace": 2},  # so none has experts, which vLLM's own reload does not pack
    "ernie4_5": _HEADS, "ernie4_5_moe": {**_HEADS, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 64},
    "exaone4": {}, "falcon": {"ffn_hidden_size": 512}, "falcon_h1": {}, "gemma": _HEADS, "gemma2": _HEADS, "gemma3_text": _HEADS,
    "glm": _HEADS, "glm4": _HEADS, "glm4_moe": {**_HEADS, **_ROUTED_EXPERTS, "first_k_dense_replace": 1},
    "gpt2": {**_GPT, "activation_function": "relu"}, "gpt_bigcode": _GPT, "gpt_neox": {}, "gpt_oss": {**_HEADS, **_LOCAL_EXPERTS},
    "gptj": {**_GPT, "activation_function": "relu", "rotary_dim": 16}, "granite": {}, "granitemoe": _LOCAL_EXPERTS,
    "granitemoehybrid": {**_LOCAL_EXPERTS, "shared_intermediate_size": 64, "layer_types": ["mamba", "attention"],
                         "mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 16},
    "helium": _HEADS, "hunyuan_v1_dense": _HEADS,
    "jamba": {"mamba_d_state": 16, "num_experts": 2, "num_experts_per_tok": 1, "attn_layer_period": 2, "attn_layer_offset": 1,
              "expert_layer_period": 2, "expert_layer_offset": 1},
    "llama": {}, "mamba": {"state_size": 16, "time_step_rank": 8},
    "mamba2": {"num_heads": 8, "head_dim": 32, "state_size": 16, "n_groups": 1}, "mistral": {}, "mixtral": _LOCAL_EXPERTS,
    "nemotron": {}, "nemotron_h": {"hybrid_override_pattern": "M*", "mamba_num_heads": 8, "mamba_head_dim": 32, "ssm_state_size": 16,
                                   "n_groups": 1},
    "olmo": {}, "olmo2": {}, "olmo3": {}, "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 192, "word_embed_proj_dim": 128}, "persimmon": {}, "phi": {}, "phi3": {}, "phimoe": _LOCAL_EXPERTS,
    "qwen2": {"tie_word_embeddings": True}, "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 96}, "qwen3": _HEADS,
    "qwen3_moe": {**_HEADS, **_EXPERTS},
    "qwen3_next": {**_HEADS, **_EXPERTS, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
                   "linear_value_head_dim": 16, "shared_expert_intermediate_size": 64},
    "seed_oss": _HEADS, "smollm3": {}, "stablelm": {}, "starcoder2": {}}

_parallel = {}


@functools.cache
def _hugging_face(kind):
    configuration = AutoConfig.for_model(kind, **{**_COMMON, **ARCHITECTURES[kind]})
    model = AutoModelForCausalLM.from_config(configuration, dtype=torch.bfloat16)
    model.should_save_on_this_rank = lambda *_: True  # as each rank has a folder of its own
    return model


@torch.no_grad()
def _save(kind, seed, directory):
    model, generator = _hugging_face(kind), torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(directory)


@functools.cache
def checkpoint(kind, seed):
    """name -> random tensor, as files of this kind of model hold them."""
    with tempfile.TemporaryDirectory() as directory:
        _save(kind, seed, directory)
        return load_file(Path(directory) / "model.safetensors")


def start_vllm(rank=0, size=1, meeting_point=None):
    """vLLM's groups of processes, as its workers make them. Groups of experts are only made for models that have some."""
    _parallel["tensor_parallel_size"] = size
    os.environ["VLLM_DIST_IDENT"] = Path(meeting_point).parent.name if meeting_point else "one"  # in names of shared memory
    with tempfile.TemporaryDirectory() as directory:
        _hugging_face("qwen3_moe").config.save_pretrained(directory)
        with set_current_vllm_config(_engine_config(directory, None)):
            init_distributed_environment(size, rank, f"file://{meeting_point or Path(directory) / 'meet'}", rank, "gloo")
            initialize_model_parallel(size)


def _engine_config(directory, quantization):
    options = dict(_parallel)
    if quantization is not None:
        options["quantization"] = "torchao"
        options["hf_overrides"] = {"quantization_config_dict_json": json.dumps(config_to_dict(quantization))}
    return EngineArgs(model=str(directory), dtype="bfloat16", load_format="safetensors", skip_tokenizer_init=True, max_model_len=64,
                      enforce_eager=True, **options).create_engine_config()


def load(kind, seed, quantization):
    """vLLM's model of a checkpoint, quantized by torchao while it is loaded."""
    with tempfile.TemporaryDirectory() as directory:
        _save(kind, seed, directory)
        config = _engine_config(directory, quantization)
        with set_current_vllm_config(config):
            return get_model(vllm_config=config)
