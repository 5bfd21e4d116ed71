#!/usr/bin/env python3
"""Runs Debian's own tcpdmatch and tcpdchk over all recorded cases, on the original library and on ours, and compares.

  debian-tools.py ORACLE LIBRARY_DIRECTORY SHIM

ORACLE is the folder with replay.py, whose namespaces are used; SHIM is its fortify_shim.c compiled: with it the original
prints its diagnostics where the tools want them. Ours does so by itself, as it calls syslog(3) by its name.
Prints each case that differs and, last, `N cases, M differ`. Needs root.
"""
import json
import os
import re
import sys

oracle, library, shim = (os.path.abspath(path) for path in sys.argv[1:4])
sys.path.insert(0, oracle)
sys.dont_write_bytecode = True
import replay  # noqa: E402

TOOLS = {"tcpdmatch": "/usr/sbin/tcpdmatch", "tcpdchk": "/usr/sbin/tcpdchk"}
# Differences with a name in docs/guide/differences.md: control bytes in messages are escaped (control-bytes-are-escaped); a
# place of an earlier evaluation is not put before messages that are not about it (no-stale-place).
ESCAPED = re.compile(r"\\x([01][0-9a-f]|7f)")
STALE = re.compile(r"^warning: [^ ]+, line \d+: (host name/|can't verify)", re.M)


def told(case, log, preload=None, env=None):
    out, err, code, _ = replay.run_case(case, log, TOOLS, preload, env)
    out = ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), out)
    return STALE.sub(r"warning: \1", out), err, code


replay.enter_namespace()
log = replay.setup()
cases = differ = 0
with open(os.path.join(oracle, "public.jsonl"), encoding="utf-8") as lines:
    for case in map(json.loads, lines):
        if case["tool"] not in TOOLS:
            continue
        cases += 1
        theirs = told(case, log, preload=shim)
        ours = told(case, log, env={"LD_LIBRARY_PATH": library})
        if theirs != ours:
            differ += 1
            print(case["id"], case["category"], "theirs", theirs, "ours", ours)
print(f"{cases} cases, {differ} differ")
sys.exit(1 if differ else 0)
