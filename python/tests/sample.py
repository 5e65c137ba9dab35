"""The project's sample model, read and written with the standard library only."""
import importlib.util
import json
import mmap
import shutil
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "samples/addition"
FIRST = SAMPLE / "checkpoints/step_02500"
SECOND = SAMPLE / "finetune/step_001"
THIRD = SAMPLE / "finetune/step_002"


def read_safetensors(directory):
    """name -> (dtype, shape, memoryview) of a directory's one file."""
    with open(Path(directory) / "model.safetensors", "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:end]))
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], data[end + entry["data_offsets"][0]:end + entry["data_offsets"][1]])
            for name, entry in header.items()}


def put_all(update, tensors, skip=()):
    for name, (dtype, shape, data) in tensors.items():
        if name not in skip:
            update.put(name, data, dtype=dtype, shape=shape)


def write_directory(directory, tensors):
    """A checkpoint of the sample's shape with those tensors, given as `read_safetensors` does."""
    directory = Path(directory)
    directory.mkdir(exist_ok=True)
    shutil.copy(FIRST / "config.json", directory)
    header, end = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    with open(directory / "new", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, _, data in tensors.values():
            file.write(data)
    (directory / "new").replace(directory / "model.safetensors")


def has(*packages):
    """Whether all of them are installed."""
    return all(importlib.util.find_spec(package) for package in packages)
