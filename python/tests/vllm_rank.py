"""One tensor-parallel rank inside vLLM, with a process of its own.   vllm_rank.py RANK SIZE MEETING_POINT

Reloads the rank's part of several models, and compares it with that of a cold load. Ends with 1 where they differ."""
import sys

import test_vllm
import torch
import vllm_models

rank, size, meeting_point = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
test_vllm.start_vllm(rank, size, meeting_point)
wrong = []
for kind, scheme in (("llama", "int8"), ("qwen2", "fp8 by rows"), ("qwen3_moe", "fp8 by tensor"), ("gpt_neox", "int8"), ("jamba", "int8"),
                     ("gpt_oss", "fp8 by rows")):
    model = vllm_models.load(kind, 0, test_vllm.SCHEMES[scheme])
    before = test_vllm.places(model)
    for seed in (1, 2, 1):
        test_vllm.reload_by(test_vllm.OURS, model, iter(vllm_models.checkpoint(kind, seed).items()))
        differing = test_vllm.differing(test_vllm.bits(model), test_vllm.cold(kind, seed, scheme)[0])
        if differing or test_vllm.places(model) != before:
            wrong.append(f"rank {rank}, {kind}, {scheme}, seed {seed}: {differing}")
torch.distributed.destroy_process_group()
sys.exit("\n".join(wrong) or 0)
