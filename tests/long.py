#!/usr/bin/env python3
"""The property tests for a long time: long.py BINARY [CASES [FIRST_SEED]]. Seeds are shared out in chunks among the
processors; the first that fails ends the run, shrunk and replayable."""
import concurrent.futures
import os
import subprocess
import sys
import time

PROPERTIES = ["WarmEqualsCold.WhateverTheSchemeTheModeTheOrderAndThePieces",
              "WarmEqualsCold.WithTheModelCutAmongOneToEightRanks", "WarmEqualsCold.WhereOnlyPartOfTheModelIsUpdated",
              "Faults.LeaveTheModelAsItWasAndTheNextGoodUpdateWorks",
              "Faults.InPiecesInPlaceCostTheVersionUntilAWholeUpdateWorks",
              "Faults.MixedWithRollbacksAndReloadsKeepTheVersionsInOrder", "DeltaUpdate.EqualsAColdLoadWhateverCameBefore",
              "DeltaUpdate.EqualsAColdLoadWithTheModelCutAmongRanks",
              "Seams.ThatFailLeaveTheModelAsItWasAndTheNextGoodUpdateWorks",
              "Allocations.ThatFailLeaveTheModelAsItWasAndTheNextGoodUpdateWorks",
              "MirrorsThatFail.LeaveDeltasRightOrRefusedWhateverCameBefore"]
CHUNK = 50


def run(binary, name, seed, rounds):
    environment = {**os.environ, "LIVEWEIGHT_TEST_SEED": str(seed), "LIVEWEIGHT_TEST_ROUNDS": str(rounds),
                   "LIVEWEIGHT_THREADS": "2"}
    return name, seed, subprocess.run([binary, f"--gtest_filter={name}"], env=environment, capture_output=True, text=True)


def chunks(cases, first_seed):
    each = -(-cases // len(PROPERTIES))
    for seed in range(first_seed, first_seed + each, CHUNK):
        for name in PROPERTIES:
            yield name, seed, min(CHUNK, first_seed + each - seed)


def main():
    try:
        hold()
    except KeyboardInterrupt:
        sys.exit(130)


def hold():
    binary = sys.argv[1]
    cases = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    first_seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    begin, done = time.monotonic(), 0
    waiting = chunks(cases, first_seed)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {}

        def start():
            chunk = next(waiting, None)
            if chunk:
                running[pool.submit(run, binary, *chunk)] = chunk[2]

        for _ in range(os.cpu_count()):
            start()
        while running:
            try:
                finished, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            except KeyboardInterrupt:
                print(f"interrupted: {done:,} cases held, seeds from {first_seed} on")
                raise
            for future in finished:
                rounds = running.pop(future)
                name, seed, result = future.result()
                if result.returncode != 0 or "[  PASSED  ] 1 test." not in result.stdout:
                    print(f"{name}, seeds from {seed} on:\n{result.stdout}{result.stderr}")
                    sys.exit(1)
                done += rounds
                start()
            if sys.stderr.isatty():
                print(f"\r{done:,} cases, {time.monotonic() - begin:,.0f} s", end="", file=sys.stderr, flush=True)
    print(f"{done:,} cases of {len(PROPERTIES)} properties held, seeds {first_seed} to "
          f"{first_seed + -(-cases // len(PROPERTIES)) - 1}, {time.monotonic() - begin:,.0f} s")


main()
