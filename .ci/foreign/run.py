"""Runs a test program in an emulator, and compares what fails with what the emulator cannot do.

    run.py NAME LIST REASONS SECONDS -- PROGRAM...

LIST is wine.txt or qemu.txt, which says what it holds. REASONS are those of its sections whose
proof holds here, with commas between them: tests of the other sections must pass like any other.
Those of the section `long` are not run.
Fails if a test fails that is not listed, also when it is run once more by itself; if the program
crashes or hangs, or if the list names a test that there is not. Says which tests took longest, since
these decide how long the whole takes.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

# A test that takes longer than this many seconds is told.
SLOW = 10

# So many tests that are not listed may fail and are run once more, one at a time. An emulator takes its time
# as it likes; what fails there beside seven others, and by itself does not, would say nothing of the system.
AGAIN = 3


def read(path, name, reasons):
    """The tests of this program that may fail, with the reason and whether they always do; and those that
    are not run."""
    listed, skipped, reason = {}, [], None
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            if section := re.fullmatch(r"\[([\w-]+)\]", line):
                reason = section[1]
                continue
            program, test, *often = line.split()
            if reason is None or often not in ([], ["sometimes"]):
                sys.exit(f"{path}:{number}: {line!r} is no line of such a list")
            if program != name:
                continue
            if reason == "long":
                skipped += ["--skip", test]
            elif reason in reasons:
                listed[test] = (reason, not often)
    return listed, skipped


def run(command, seconds):
    """What a test program says, how it ended, and which of its tests failed."""
    # Not a pipe: Wine's server, which stays for a while, would keep it open.
    with tempfile.TemporaryFile() as output:
        # The harness tells the times of tests only to whom such a compiler would be allowed.
        ran = subprocess.Popen(
            command + ["-Zunstable-options", "--report-time"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
        )
        try:
            ended = ran.wait(timeout=float(seconds))
        except subprocess.TimeoutExpired:
            ran.kill()
            ended = f"not after {seconds} s"
        output.seek(0)
        story = output.read()
    # Wine's programs end their lines as Windows does.
    story = story.decode(errors="replace").replace("\r", "")
    # `test NAME ... ok`; what a test prints may come in between.
    done = dict(re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (\w+)", story, re.M))
    failed = set(re.findall(r"^---- (\S+) stdout ----$", story, re.M))
    failed |= {test for test, how in done.items() if how == "FAILED"}
    return story, ended, done, failed


def main():
    name, path, reasons, seconds = sys.argv[1:5]
    listed, skipped = read(path, name, reasons.split(","))
    began = time.monotonic()
    command = sys.argv[6:]
    story, ended, done, failed = run(command + skipped, seconds)
    # The last: tests that start a process of their own may show its words.
    summaries = re.findall(r"^test result: .*?(\d+) passed; (\d+) failed", story, re.M)
    times = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. \w+ <([\d.]+)s>", story, re.M)
    slow = sorted(((float(took), test) for test, took in times), reverse=True)[:6]
    for took, test in slow:
        if took > SLOW:
            print(f"  {took:.0f} s: {test}")
    wrong, unlisted, alone = [], sorted(failed - set(listed)), set()
    if unlisted and len(unlisted) <= AGAIN and ended == 101:
        _, _, done_alone, failed_alone = run(command + unlisted + ["--exact", "--test-threads=1"], seconds)
        alone = {test for test, how in done_alone.items() if how == "ok"} - failed_alone
    for test in unlisted:
        if test in alone:
            print(f"  {test} failed beside others, and passed by itself")
        else:
            wrong.append(f"{test} failed")
    for test in sorted(set(listed) - set(done) - failed):
        wrong.append(f"{test} is listed, and is no test")
    passed, count = summaries[-1] if summaries else (0, 0)
    if not summaries or ended not in (0, 101):
        wrong.append(f"it did not end as it should: {ended}")
    elif int(count) != len(failed):
        wrong.append(f"{count} failed, and these have names: {sorted(failed)}")
    if wrong:
        # What each has said that should not have failed.
        for test in unlisted:
            said = re.search(rf"^---- {re.escape(test)} stdout ----$.*?(?=^---- |\Z)", story, re.M | re.S)
            print(said[0][:3000] if said else f"{test} has said nothing")
        print(story[-1000:])
        for line in wrong:
            print(f"WRONG, {name}: {line}")
        sys.exit(1)
    print(f"{name}: {passed} passed, {count} failed as listed, in {time.monotonic() - began:.0f} s")
    for test in sorted(set(listed) - failed):
        if listed[test][1]:
            print(f"  {test} is listed for {listed[test][0]}, and passed")


main()
