"""The project's sample model, read with the standard library only."""
import json
import mmap
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
