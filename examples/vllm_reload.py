#!/usr/bin/env python3
"""Reloads high-precision weights into a model that vLLM holds quantized by torchao: with Liveweight's decorator in the place
of vLLM's own, beside vLLM's own, and what each leaves behind when a reload fails.

    vllm_reload.py [--old DIRECTORY] [--new DIRECTORY] [--scheme int8 | fp8]

The directories are checkpoints of one model; without them, two of the sample's. Nothing but the one assignment to
`AutoWeightsLoader.load_weights` is changed in vLLM, and no GPU is needed. Needs vLLM 0.32 and torchao."""
import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ["VLLM_TARGET_DEVICE"] = "cpu"  # before vLLM is imported: its wheel is built for GPUs, but loads without one
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import torch  # noqa: E402
import vllm  # noqa: E402
from safetensors import safe_open  # noqa: E402
from torchao.core.config import config_to_dict  # noqa: E402
from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, PerRow  # noqa: E402
from vllm.config import set_current_vllm_config  # noqa: E402
from vllm.distributed import init_distributed_environment, initialize_model_parallel  # noqa: E402
from vllm.engine.arg_utils import EngineArgs  # noqa: E402
from vllm.model_executor.model_loader import get_model  # noqa: E402
from vllm.model_executor.models.utils import AutoWeightsLoader  # noqa: E402

from liveweight.torch.online_quantization import support_quantized_model_reload_from_hp_weights  # noqa: E402

SAMPLE = Path(__file__).resolve().parents[1] / "samples/addition/checkpoints"
SCHEMES = {"int8": Int8WeightOnlyConfig(version=2), "fp8": Float8WeightOnlyConfig(granularity=PerRow())}
VLLMS_OWN = AutoWeightsLoader.load_weights
OURS = support_quantized_model_reload_from_hp_weights(AutoWeightsLoader.load_weights)


def engine_config(directory, scheme):
    quantization = json.dumps(config_to_dict(SCHEMES[scheme]))
    return EngineArgs(model=str(directory), dtype="bfloat16", load_format="safetensors", quantization="torchao", enforce_eager=True,
                      skip_tokenizer_init=True, hf_overrides={"quantization_config_dict_json": quantization}).create_engine_config()


def start_vllm(config):
    """What a worker of vLLM's does before it loads a model."""
    with set_current_vllm_config(config), tempfile.TemporaryDirectory() as directory:
        init_distributed_environment(1, 0, f"file://{directory}/meet", 0, "gloo")
        initialize_model_parallel(1)


def load(directory, scheme):
    config = engine_config(directory, scheme)
    with set_current_vllm_config(config):
        return get_model(vllm_config=config)


def weights_of(directory):
    """Reads a checkpoint's tensors one after another, as a trainer might send them."""
    for path in sorted(Path(directory).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                yield name, file.get_tensor(name)


def cut_short(weights, after):
    for i, item in enumerate(weights):
        if i == after:
            raise ConnectionError(f"the trainer went away after {after} tensors")
        yield item


def plain_parts(tensor):
    """The tensors that torchao's tensors are made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor.detach()]
    return [part for name in tensor.__tensor_flatten__()[0] for part in plain_parts(getattr(tensor, name))]


def parts_of(model):
    return [part for parameter in model.parameters() for part in plain_parts(parameter)]


def bits_of(model):
    return [part.contiguous().view(-1).view(torch.uint8).clone() for part in parts_of(model)]


def same(one, other):
    return "the same" if all(map(torch.equal, one, other)) else "DIFFERENT"


def reload_good(model, directory, cold):
    before, begin = [part.data_ptr() for part in parts_of(model)], time.perf_counter()
    names = model.load_weights(weights_of(directory))
    seconds = time.perf_counter() - begin
    moved = sum(one != other for one, other in zip(before, [part.data_ptr() for part in parts_of(model)]))
    print(f"    {len(names)} parameters updated in {seconds:.3f} s; bits beside a cold load: {same(bits_of(model), cold)}; "
          f"buffers that moved: {moved}")


def reload_bad(model, directory, cold):
    before, half = bits_of(model), sum(1 for _ in weights_of(directory)) // 2
    try:
        model.load_weights(cut_short(weights_of(directory), half))
    except ConnectionError as error:
        print(f"    {error}")
    lost = sum(parameter.is_meta for parameter in model.parameters())
    if lost:
        print(f"    {lost} of {len(list(model.parameters()))} parameters are left on the meta device: they hold no data")
    else:
        print(f"    the model's bits: {same(bits_of(model), before)} as before")
    try:
        reload_good(model, directory, cold)
    except Exception as error:  # noqa: BLE001
        print(f"    the next, good reload fails: {type(error).__name__}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--old", default=SAMPLE / "step_00400", help="checkpoint that vLLM loads first")
    parser.add_argument("--new", default=SAMPLE / "step_02500", help="checkpoint that is loaded into it")
    parser.add_argument("--scheme", choices=SCHEMES, default="int8", help="of torchao's weight-only quantization")
    arguments = parser.parse_args()

    start_vllm(engine_config(arguments.old, arguments.scheme))
    cold_old, cold_new = (bits_of(load(directory, arguments.scheme)) for directory in (arguments.old, arguments.new))
    print(f"vLLM {vllm.__version__} has loaded {arguments.old} and quantized it to {arguments.scheme}.")
    for whose, decorated in (("vLLM's own reload", VLLMS_OWN), ("Liveweight's", OURS)):
        model = load(arguments.old, arguments.scheme)
        AutoWeightsLoader.load_weights = decorated
        print(f"\n{whose}\n  {arguments.new}:")
        reload_good(model, arguments.new, cold_new)
        print("  back, but at first the weights break off:")
        reload_bad(model, arguments.old, cold_old)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
