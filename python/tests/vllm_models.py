"""Small random Llama and Qwen checkpoints, and vLLM's own models made of them, on the CPU."""
import json
import os
import tempfile
from pathlib import Path

os.environ["VLLM_TARGET_DEVICE"] = "cpu"  # vLLM's wheel is built for GPUs; this makes it load and reload without one
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torchao.core.config import config_to_dict  # noqa: E402
from vllm.config import set_current_vllm_config  # noqa: E402
from vllm.distributed import init_distributed_environment, initialize_model_parallel  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.model_executor.model_loader import get_model  # noqa: E402

_COMMON = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
           "head_dim": 32, "vocab_size": 300, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "hidden_act": "silu",
           "dtype": "bfloat16", "tie_word_embeddings": False}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "decoder_sparse_step": 1,
            "norm_topk_prob": True, "mlp_only_layers": []}
CONFIGURATIONS = {
    "llama": {**_COMMON, "architectures": ["LlamaForCausalLM"]},
    "qwen2": {**_COMMON, "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True},
    "qwen3": {**_COMMON, "architectures": ["Qwen3ForCausalLM"]},
    "qwen2_moe": {**_COMMON, **_EXPERTS, "architectures": ["Qwen2MoeForCausalLM"], "shared_expert_intermediate_size": 96},
    "qwen3_moe": {**_COMMON, **_EXPERTS, "architectures": ["Qwen3MoeForCausalLM"]},
    "deepseek_v2": {**_COMMON, "architectures": ["DeepseekV2ForCausalLM"], "num_key_value_heads": 4, "q_lora_rank": None,
                    "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 4,
                    "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 2,  # so none has experts
                    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}}
for _kind, _configuration in CONFIGURATIONS.items():
    _configuration["model_type"] = _kind

_parallel = {}


def checkpoint(kind, seed):
    """name -> random tensor, as files of this kind of model hold them."""
    c, generator = CONFIGURATIONS[kind], torch.Generator().manual_seed(seed)

    def random(*shape):
        return (torch.randn(*shape, generator=generator) * 0.1).to(torch.bfloat16)
    weights = {"model.embed_tokens.weight": random(c["vocab_size"], c["hidden_size"]), "model.norm.weight": random(c["hidden_size"])}
    if not c["tie_word_embeddings"]:
        weights["lm_head.weight"] = random(c["vocab_size"], c["hidden_size"])
    for i in range(c["num_hidden_layers"]):
        layer = {**_attention(kind, c, random), **_perceptron(kind, c, random)}
        layer.update({f"{norm}_layernorm.weight": random(c["hidden_size"]) for norm in ("input", "post_attention")})
        weights.update({f"model.layers.{i}.{name}": tensor for name, tensor in layer.items()})
    return weights


def _latent_attention(c, random):
    nope, value, rope = (c["num_attention_heads"] * c[size] for size in ("qk_nope_head_dim", "v_head_dim", "qk_rope_head_dim"))
    shapes = {"q_proj": (nope + rope, c["hidden_size"]), "kv_b_proj": (nope + value, c["kv_lora_rank"]),
              "kv_a_proj_with_mqa": (c["kv_lora_rank"] + c["qk_rope_head_dim"], c["hidden_size"]),
              "kv_a_layernorm": (c["kv_lora_rank"],), "o_proj": (c["hidden_size"], value)}
    return {f"self_attn.{name}.weight": random(*shape) for name, shape in shapes.items()}


def _attention(kind, c, random):
    if kind == "deepseek_v2":
        return _latent_attention(c, random)
    q, kv = (c[heads] * c["head_dim"] for heads in ("num_attention_heads", "num_key_value_heads"))
    weights = {f"self_attn.{name}_proj.weight": random(rows, c["hidden_size"]) for name, rows in (("q", q), ("k", kv), ("v", kv))}
    if kind.startswith("qwen2"):
        weights.update({f"self_attn.{name}_proj.bias": random(rows) for name, rows in (("q", q), ("k", kv), ("v", kv))})
    if kind.startswith("qwen3"):
        weights.update({f"self_attn.{name}_norm.weight": random(c["head_dim"]) for name in "qk"})
    return {**weights, "self_attn.o_proj.weight": random(c["hidden_size"], q)}


def _perceptron(kind, c, random):
    def projections(prefix, inner):
        return {f"{prefix}.gate_proj.weight": random(inner, c["hidden_size"]), f"{prefix}.up_proj.weight": random(inner, c["hidden_size"]),
                f"{prefix}.down_proj.weight": random(c["hidden_size"], inner)}
    if "moe" not in kind:
        return projections("mlp", c["intermediate_size"])
    weights = {"mlp.gate.weight": random(c["num_experts"], c["hidden_size"])}
    for expert in range(c["num_experts"]):
        weights.update(projections(f"mlp.experts.{expert}", c["moe_intermediate_size"]))
    if kind == "qwen2_moe":
        weights.update(projections("mlp.shared_expert", c["shared_expert_intermediate_size"]))
        weights["mlp.shared_expert_gate.weight"] = random(1, c["hidden_size"])
    return weights


def start_vllm(rank=0, size=1, meeting_point=None):
    """vLLM's groups of processes, as its workers make them. Groups of experts are only made for models that have some."""
    _parallel["tensor_parallel_size"] = size
    os.environ["VLLM_DIST_IDENT"] = Path(meeting_point).parent.name if meeting_point else "one"  # in names of shared memory
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.json").write_text(json.dumps(CONFIGURATIONS["qwen3_moe"]))
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
        (Path(directory) / "config.json").write_text(json.dumps(CONFIGURATIONS[kind]))
        save_file(checkpoint(kind, seed), Path(directory) / "model.safetensors", metadata={"format": "pt"})
        config = _engine_config(directory, quantization)
        with set_current_vllm_config(config):
            return get_model(vllm_config=config)
