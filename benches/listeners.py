#!/usr/bin/env python3
"""Times `portreeve listeners` beside lsof, ss and netstat on a process with 10,000 listening sockets.

  listeners.py RESULT.json PORTREEVE [REPETITIONS]

Runs inside a network and a pid namespace of its own (scripts/bench makes them). Each repetition runs every program once, in rotating
order; a ratio is the median of the ratios within a repetition. Output goes to a pipe that is read to its end.
"""
import json, os, resource, socket, statistics, subprocess, sys, time

SOCKETS = 10_000
result, portreeve = sys.argv[1], sys.argv[2]
repetitions = int(sys.argv[3]) if len(sys.argv) > 3 else 7

resource.setrlimit(resource.RLIMIT_NOFILE, (SOCKETS + 1000, SOCKETS + 1000))
held = []
for i in range(SOCKETS):
    s = socket.socket()
    s.bind(("127.0.0.1" if i % 2 else "0.0.0.0", 20000 + i))
    s.listen(1)
    held.append(s)

programs = {
    "lsof -nP -iTCP -sTCP:LISTEN": ["lsof", "-nP", "-iTCP", "-sTCP:LISTEN"],
    "ss -ltnup": ["ss", "-ltnup"],
    "netstat -nlp": ["netstat", "-nlp"],
    "portreeve listeners": [portreeve, "listeners", "--control", "/nonexistent"],
    "portreeve listeners --json": [portreeve, "listeners", "--json", "--control", "/nonexistent"],
}
times = {name: [] for name in programs}
names = list(programs)
for turn in range(repetitions + 1):
    for name in names[turn % len(names):] + names[: turn % len(names)]:
        began = time.perf_counter()
        output = subprocess.run(programs[name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        took = time.perf_counter() - began
        assert output.count(b":2") >= SOCKETS, f"{name} shows fewer"
        if turn:  # the first warms
            times[name].append(took)

base = "lsof -nP -iTCP -sTCP:LISTEN"
rows = {
    name: {
        "ms": 1000 * statistics.median(all_),
        "lsof": statistics.median(b / t for b, t in zip(times[base], all_)),
    }
    for name, all_ in times.items()
}
with open(result, "w") as file:
    json.dump({"sockets": SOCKETS, "repetitions": repetitions, "rows": rows}, file, indent=1)
print(f"| {SOCKETS:,} listening sockets | ms | lsof's time / its time |\n|---|---|---|")
for name, row in rows.items():
    print(f"| {name} | {row['ms']:.0f} | {row['lsof']:.1f} |")
