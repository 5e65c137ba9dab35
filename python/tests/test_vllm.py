"""Inside vLLM: its own models, loaders and parameter classes, with our decorator in the place of its own."""
import functools
import gc
import importlib.util
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path
from types import SimpleNamespace

MISSING = [package for package in ("vllm", "torch", "torchao", "safetensors") if importlib.util.find_spec(package) is None]
if not MISSING:
    import vllm_models
    from vllm import _custom_ops
    import torch
    from torchao.quantization import (Float8WeightOnlyConfig, Int8WeightOnlyConfig, IntxWeightOnlyConfig, ModuleFqnToConfig,
                                      PerGroup, PerRow, PerTensor)
    from vllm.model_executor.layers.fused_moe.experts import cpu_moe
    from vllm.model_executor.model_loader.reload import inplace
    from vllm.model_executor.models.utils import AutoWeightsLoader
    from vllm_models import checkpoint, load

    import liveweight
    from liveweight.torch._fallback import inner_tensors
    from liveweight.torch.online_quantization import (maybe_save_metadata_and_attributes_for_weight_reloading,
                                                      support_quantized_model_reload_from_hp_weights)

    THEIRS = AutoWeightsLoader.load_weights
    OURS = support_quantized_model_reload_from_hp_weights(THEIRS)
    INT8 = Int8WeightOnlyConfig(version=2)
    FIRST = [f"model.layers.0.{name}" for name in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")]
    SCHEMES = {"int8": INT8, "fp8 by rows": Float8WeightOnlyConfig(granularity=PerRow()),
               "fp8 by tensor": Float8WeightOnlyConfig(granularity=PerTensor()),
               "int8 by tensor": Int8WeightOnlyConfig(version=2, granularity=PerTensor()),  # which no adapter of ours knows
               "int4 by groups": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32), version=2),
               "int8 but for a layer": ModuleFqnToConfig({"re:.*": INT8, **dict.fromkeys(FIRST)})}

    @functools.cache
    def cold(kind, seed, scheme):
        """bits and logits of a model that was loaded with these weights."""
        model = load(kind, seed, SCHEMES[scheme])
        return bits(model), logits(model)

    def reload_by(decorator, model, weights):
        AutoWeightsLoader.load_weights = decorator
        try:
            return model.load_weights(weights)
        finally:
            AutoWeightsLoader.load_weights = THEIRS

    def parts(model):
        return {f"{name}.{i}": part for name, parameter in model.named_parameters() for i, part in enumerate(inner_tensors(parameter))}

    def attributes(model):
        """Tensors that modules keep as attributes, but for those of torch.fx."""
        return {f"{module}.{name}": value for module, where in model.named_modules() for name, value in where.__dict__.items()
                if isinstance(value, torch.Tensor) and not name.startswith("_tensor_constant")}

    def bits(model):
        tensors = {**parts(model), **dict(model.named_buffers()), **attributes(model)}
        return {name: bytes(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()) for name, tensor in tensors.items()}

    def logits(model):
        """What the head, where there is one, makes of some hidden states, by the kernel that vLLM chose, whatever that reads."""
        if not hasattr(model, "lm_head"):
            return None
        states = torch.randn(3, 128, generator=torch.Generator().manual_seed(9)).to(torch.bfloat16)
        return model.lm_head.quant_method.apply(model.lm_head, states)

    def passing(weights):
        """Each tensor is overwritten when the next one is asked for."""
        for name, tensor in weights.items():
            lent = tensor.clone()
            yield name, lent
            lent.fill_(7)

    def differing(one, other):
        return [name for name in {**one, **other} if one.get(name) != other.get(name)]

    def snapshot(model):
        modules = [(name, dict(module.__dict__), {table: dict(module.__dict__[table]) for table in ("_parameters", "_buffers", "_modules")})
                   for name, module in model.named_modules()]
        return modules, [dict(parameter.__dict__) for parameter in model.parameters()], places(model), bits(model)

    def places(model):
        return {name: (part.data_ptr(), id(model.get_parameter(name.rpartition(".")[0]))) for name, part in parts(model).items()}


def start_vllm(*place):
    torch.set_num_threads(1)  # matrices are small
    vllm_models.start_vllm(*place)
    gc.freeze()  # vLLM looks through everything that was imported whenever it loads a model
    # vLLM's wheel for GPUs lacks kernels, without which experts do not load, nor convolutions where there is AVX512_BF16.
    if not hasattr(torch.ops._C, "prepack_moe_weight"):
        cpu_moe.cpu_prepack_moe_weight = lambda weight, isa: weight.flip(-1).contiguous()
    if not hasattr(torch.ops._C, "causal_conv1d_weight_pack"):
        _custom_ops.causal_conv1d_weight_pack = lambda weight: weight.flip(-1).contiguous()


def setUpModule():
    if not MISSING:
        start_vllm()


def tearDownModule():
    if not MISSING:
        torch.distributed.destroy_process_group()


@unittest.skipIf(MISSING, f"{', '.join(MISSING)} not installed; docs/python.md says how vLLM is")
class InsideVllm(unittest.TestCase):
    def check_reloads(self, kind, scheme, as_theirs=True):
        ours, theirs = (load(kind, 0, SCHEMES[scheme]) for _ in range(2))
        before = places(ours)
        for seed in (1, 2, 3, 1):
            updated = reload_by(OURS, ours, iter(checkpoint(kind, seed).items()))
            self.assertEqual(updated, reload_by(THEIRS, theirs, iter(checkpoint(kind, seed).items())))
            expected_bits, expected_logits = cold(kind, seed, scheme)
            self.assertEqual(differing(bits(ours), expected_bits), [])
            self.assertTrue(torch.equal(logits(ours), expected_logits))
            self.assertEqual(places(ours), before)
            if as_theirs:
                self.assertEqual(differing(bits(ours), bits(theirs)), [])

    def test_reloads_equal_its_own_and_a_cold_load(self):
        for kind in ("llama", "qwen2", "qwen3"):
            for scheme in ("int8", "fp8 by rows", "fp8 by tensor"):
                with self.subTest(kind, scheme=scheme):
                    self.check_reloads(kind, scheme)

    def test_other_configurations_of_torchao(self):
        for scheme in ("int8 by tensor", "int4 by groups"):
            with self.subTest(scheme):
                self.check_reloads("qwen2", scheme)

    def test_reloads_of_experts_equal_a_cold_load(self):
        """Its own reload does not: it does not pack the new experts as it packed the first."""
        for kind in ("qwen2_moe", "qwen3_moe"):
            with self.subTest(kind):
                self.check_reloads(kind, "int8", as_theirs=False)

    def test_layers_that_stay_unquantized_load_through_its_own_parameter_classes(self):
        self.check_reloads("qwen2", "int8 but for a layer")

    def test_each_of_its_models_equals_a_cold_load(self):
        """All that vLLM has code for, and Hugging Face makes small ones of; not compared with its own reloads, which do not pack experts."""
        for kind in vllm_models.ARCHITECTURES:
            with self.subTest(kind):
                model = load(kind, 0, INT8)
                before = places(model)
                for seed in (1, 0):
                    reload_by(OURS, model, passing(checkpoint(kind, seed)))
                    self.assertEqual(differing(bits(model), cold(kind, seed, "int8")[0]), [])
                    self.assertEqual(places(model), before)

    def test_what_attention_makes_of_other_layers_weights_equals_a_cold_load(self):
        self.check_reloads("deepseek_v2", "int8")

    def test_each_of_two_tensor_parallel_ranks_equals_a_cold_load_of_its_part(self):
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, str(Path(__file__).parent / "vllm_rank.py")]
            ranks = [subprocess.Popen([*command, str(rank), "2", f"{directory}/meet"], stderr=subprocess.PIPE, text=True)
                     for rank in range(2)]
            for rank in ranks:
                _, said = rank.communicate()
                self.assertEqual(rank.returncode, 0, said[-4000:])

    def test_its_workers_own_reload_passes_by_the_decorator_and_takes_turns_with_ours(self):
        """What the `reload_weights` of its workers and runners calls."""
        model = load("llama", 0, INT8)
        before = places(model)
        config = SimpleNamespace(model_config=model._model_config, load_config=None, lora_config=None)
        AutoWeightsLoader.load_weights = OURS
        try:
            for seed in (1, 2):
                inplace.reload_weights(config, model, iter(checkpoint("llama", seed).items()), None, True)
                self.assertEqual(differing(bits(model), cold("llama", seed, "int8")[0]), [])
                model.load_weights(iter(checkpoint("llama", 0).items()))
                self.assertEqual(differing(bits(model), cold("llama", 0, "int8")[0]), [])
                self.assertEqual(places(model), before)
        finally:
            AutoWeightsLoader.load_weights = THEIRS

    def test_recording_may_also_be_asked_for_where_vllm_marks_its_models(self):
        model = load("llama", 0, INT8)
        maybe_save_metadata_and_attributes_for_weight_reloading(model, model._model_config)
        reload_by(OURS, model, iter(checkpoint("llama", 1).items()))
        self.assertEqual(differing(bits(model), cold("llama", 1, "int8")[0]), [])

    def test_an_exception_after_any_number_of_weights_leaves_the_model(self):
        for kind in ("llama", "qwen2_moe"):
            model, weights = load(kind, 0, INT8), list(checkpoint(kind, 1).items())
            before = snapshot(model)

            def broken(after):
                yield from weights[:after]
                raise RuntimeError("injected")
            for after in range(len(weights) + 1):
                with self.subTest(kind, after=after):
                    with self.assertRaisesRegex(RuntimeError, "injected"):
                        reload_by(OURS, model, broken(after))
                    self.assertEqual(snapshot(model), before)
            reload_by(OURS, model, iter(weights))
            self.assertEqual(differing(bits(model), cold(kind, 1, "int8")[0]), [])

    def test_an_exception_while_a_layer_is_processed_leaves_the_model(self):
        model = load("llama", 0, INT8)
        before = snapshot(model)
        method = type(model.lm_head.quant_method)
        with unittest.mock.patch.object(method, "process_weights_after_loading", side_effect=MemoryError):
            with self.assertRaises(MemoryError):
                reload_by(OURS, model, iter(checkpoint("llama", 1).items()))
        self.assertEqual(snapshot(model), before)
        reload_by(OURS, model, iter(checkpoint("llama", 1).items()))
        self.assertEqual(differing(bits(model), cold("llama", 1, "int8")[0]), [])

    def test_bad_weights_leave_the_model(self):
        weights, k = checkpoint("qwen3_moe", 1), "model.layers.1.self_attn.k_proj.weight"
        expert = "model.layers.0.mlp.experts.2.down_proj.weight"
        bad = {"transposed": {k: weights[k].t()}, "cut": {k: weights[k][:-1]}, "cut expert": {expert: weights[expert][:-1]},
               "unknown": {"model.layers.0.nonsense": weights[k]}, "not finite": {expert: weights[expert] * float("nan")},
               "not a number": {k: weights[k] * float("inf")}}
        sources = {what: {**weights, **change} for what, change in bad.items()}
        sources.update({f"{name} missing": {key: value for key, value in weights.items() if key != name} for name in (k, expert)})
        model = load("qwen3_moe", 0, INT8)
        before = snapshot(model)
        for what, source in sources.items():
            for convert in (dict.items, lambda source: iter(list(source.items()))):
                with self.subTest(what), self.assertRaises((liveweight.Error, AssertionError, RuntimeError, ValueError, KeyError)):
                    reload_by(OURS, model, convert(source))
                self.assertEqual(snapshot(model), before)
        reload_by(OURS, model, iter(weights.items()))
        self.assertEqual(differing(bits(model), cold("qwen3_moe", 1, "int8")[0]), [])


if __name__ == "__main__":
    unittest.main()
