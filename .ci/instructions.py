#!/usr/bin/env python3
"""Counts the instructions that a message of 64 bytes costs, and compares with what is allowed.

    python3 .ci/instructions.py            # fails where one costs over 15 % more than recorded
    python3 .ci/instructions.py --set      # records what it counts now
    python3 .ci/instructions.py --spread   # ten runs: how steady the counts are

A count, unlike a time, is the same on a busy machine. Each way of sending and receiving
(benches/instructions.rs) runs under valgrind with two numbers of messages; the difference, divided,
is what one costs, without what starting and ending cost. All threads of the process count, so the
hand-over between threads does; what the kernel does is not seen.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RECORD = HERE / "instructions.txt"
SLACK = 1.15  # compilers and C libraries differ
FEW, MANY = 1_000, 21_000
# Each of these waits a moment.
MANY_ALONE = 4_000
ABOUT = f"""\
# Instructions per message of 64 bytes, as counted by callgrind. Written by
#     python3 .ci/instructions.py --set
# A change may cost {SLACK - 1:.0%} more before .ci/run fails.
"""


def build():
    command = ["cargo", "bench", "--bench", "instructions", "--no-run", "--message-format=json"]
    # With several units, code that only moves from one file to another is inlined otherwise.
    env = {**os.environ, "CARGO_PROFILE_BENCH_CODEGEN_UNITS": "1"}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    lines = run.stdout.splitlines()
    for message in map(json.loads, lines):
        if message.get("executable") and message["target"]["name"] == "instructions":
            return message["executable"]
    sys.exit("cargo has not said where the bench is")


def count(program, way, messages):
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    run = subprocess.run([*tool, program, way, str(messages)], stderr=subprocess.PIPE, text=True)
    collected = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not collected:
        sys.exit(f"{way}: valgrind failed\n{run.stderr}")
    return int(collected[1])


def measure(program, way):
    many = MANY_ALONE if way == "send-alone" else MANY
    return (count(program, way, many) - count(program, way, FEW)) / (many - FEW)


def record():
    lines = [line.split() for line in RECORD.read_text().splitlines() if not line.startswith("#")]
    return {way: float(instructions) for way, instructions in lines}


def compare(program):
    failed = []
    print(f"{'instructions per message':<26}{'now':>8}{'recorded':>10}{'allowed':>9}")
    for way, recorded in record().items():
        now, allowed = measure(program, way), recorded * SLACK
        word = ""
        if now > allowed:
            failed.append(way)
            word = "  TOO MANY"
        elif now * SLACK < recorded:
            word = "  far fewer: record it with --set"
        print(f"{way:<26}{now:>8.0f}{recorded:>10.0f}{allowed:>9.0f}{word}", flush=True)
    if failed:
        sys.exit(f"""
A message costs more instructions than it did: {', '.join(failed)}.

If the change was not meant to cost that, find where it goes:
    valgrind --tool=callgrind --callgrind-out-file=callgrind.out {program} {failed[0]} {MANY}
    callgrind_annotate callgrind.out | head -40
If it is worth it, record the new counts, and say in the commit what they buy:
    python3 .ci/instructions.py --set""")


def main(args):
    program = build()
    if args == ["--set"]:
        counts = {way: measure(program, way) for way in record()}
        rows = "".join(f"{way:<14}{now:>6.0f}\n" for way, now in counts.items())
        RECORD.write_text(ABOUT + rows)
        print(rows, end="")
    elif args == ["--spread"]:
        for way in record():
            counts = sorted(measure(program, way) for _ in range(10))
            low, middle, high = counts[0], counts[5], counts[-1]
            print(f"{way:<14}{low:>9.1f} to {high:.1f}: {(high - low) / middle:.1%}", flush=True)
    elif not args:
        compare(program)
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
