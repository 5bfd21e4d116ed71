#!/usr/bin/env python3
"""Draws tables and requests, puts them to the original libwrap.so.0 and to ours, and compares all that a program can see.

  libwrap-differential.py ORACLE LIBRARY_DIRECTORY ANSWERS SEED TABLES

ORACLE is the folder with replay.py, whose namespaces and recorded tables (for their words) are used; ANSWERS is
c/answers.c compiled. Three requests for each pair of tables. Prints what differs and, last, `N cases, M differ`. Needs root.
"""
import json
import os
import random
import re
import subprocess
import sys

oracle, library, answers = (os.path.abspath(path) for path in sys.argv[1:4])
sys.path.insert(0, oracle)
sys.dont_write_bytecode = True
import replay  # noqa: E402

replay.enter_namespace()
replay.setup()
draw = random.Random(int(sys.argv[4]))

WORDS = ["ALL", "LOCAL", "KNOWN", "UNKNOWN", "PARANOID"]
MASKS = ["255.255.255.0", "255.0.0.0", "255.255.255.255", "0.0.0.0", "255.255.0.255"]
NAMES = replay.NAMES + ["", "unknown", "paranoid", "host7.dept.example.edu"]
ADDRESSES = list(replay.ADDR_OF.values()) + [
    "", "unknown", "1.2.3.4", "10.0.0.1", "::ffff:10.1.2.3", "fe80::1%lo", "255.255.255.255",
]
# The original keeps the place of an earlier evaluation (no-stale-place in docs/guide/differences.md).
STALE = re.compile(r"^M warning: [^ ]+, line \d+: (cannot open|host name|can't verify)", re.M)


def vocabulary():
    """The words of the recorded cases: daemons, clients, options, lines, requests. Writes their lists."""
    daemons, clients, options, lines, requests = set(), set(), set(), set(), []
    with open(os.path.join(oracle, "public.jsonl"), encoding="utf-8") as cases:
        for case in map(json.loads, cases):
            for line in ((case["allow"] or "") + "\n" + (case["deny"] or "")).split("\n"):
                parts = re.split(r":(?![^\[]*\])", line, maxsplit=2)
                if not line or len(line) > 1500 or len(parts) < 2:
                    continue
                lines.add(line)
                daemons.update(parts[0].split())
                clients.update(re.split(r"[ ,\t]+", parts[1]))
                options.update(re.split(r"(?<!\\):", parts[2]) if len(parts) > 2 else [])
            for path, text in case.get("files", {}).items():
                # A list of lists may lead back to itself, which the original does not survive.
                if "/run/twc" not in text and len(text) < 5000:
                    replay.put(path, text)
            if case["tool"] == "driver":
                words = case["args"]
                requests.append(words[1:9] if words[0] == "access" else words[1:5] + ["", "", "-", "-"])
    # The original takes the rights of a user in a dry run, or does not, by a defect of its own.
    options = {option for option in options if not re.match(r"(?i)\s*(user|group)\b", option)}
    return [sorted(filter(None, words)) for words in (daemons, clients, options, lines)] + [requests]


DAEMONS, CLIENTS, OPTIONS, LINES, REQUESTS = vocabulary()


def mistyped(text):
    if not text or draw.random() > 0.15:
        return text
    at, kind = draw.randrange(len(text)), draw.random()
    if kind < 0.3:
        return text[:at] + text[at + 1:]
    if kind < 0.6:
        return text[:at] + draw.choice(".*?/@[]:0123456789axALL%-\\#") + text[at:]
    return text.swapcase() if kind < 0.8 else text[at:] + text[:at]


def address_pattern():
    address, kind = draw.choice(ADDRESSES), draw.random()
    if "." in address and ":" not in address:
        if kind < 0.2:
            return ".".join(address.split(".")[:draw.randint(1, 3)]) + "."
        if kind < 0.6:
            return address + "/" + draw.choice([str(draw.randint(0, 34))] * 3 + MASKS[:1] + [draw.choice(MASKS)])
        if kind < 0.7:
            bits = draw.randint(1, 31)
            number = int.from_bytes(bytes(map(int, address.split("."))), "big") >> (32 - bits) << (32 - bits)
            return ".".join(map(str, number.to_bytes(4, "big"))) + f"/{bits}"
    elif ":" in address and kind < 0.9:
        return f"[{address}]" + (f"/{draw.randint(0, 129)}" if kind < 0.5 else "")
    return address


def client_list():
    words = []
    for _ in range(draw.choice([1, 1, 1, 2, 3, 5])):
        kinds = [address_pattern() for _ in range(4)] + [draw.choice(WORDS), draw.choice(NAMES)]
        word = draw.choice(kinds + [draw.choice(CLIENTS) for _ in range(5)])
        if draw.random() < 0.06:
            word = draw.choice(["joe", "root", "KNOWN", "j*", "ALL", "unknown"]) + "@" + word
        words.append(mistyped(word))
        if draw.random() < 0.12:
            words.append(draw.choice(["EXCEPT", "except"]))
    return draw.choice([" ", ", ", ",", " \t"]).join(words)


def daemon_list():
    words = []
    for _ in range(draw.choice([1, 1, 2, 3])):
        words.append(mistyped(draw.choice(DAEMONS) if draw.random() < 0.6 else draw.choice(["ALL", "d", "sshd", "22", "in.*"])))
        if draw.random() < 0.08:
            words.append("EXCEPT")
    return " ".join(words)


def line():
    if draw.random() < 0.12:
        return mistyped(draw.choice(LINES))
    text = daemon_list() + draw.choice([":", " : ", ": "]) + client_list()
    while draw.random() < 0.3:
        text += draw.choice([":", " : "]) + mistyped(draw.choice(OPTIONS))
    return text


def table():
    if draw.random() < 0.06:
        return None
    text = "\n".join(line() for _ in range(draw.choice([1, 1, 2, 3, 6])))
    if draw.random() < 0.02:
        text = text.replace(" ", "\0", 1)
    return (text + ("\n" if draw.random() > 0.04 else "")).encode("latin-1", "replace")


def request():
    if draw.random() < 0.4:
        words = draw.choice(REQUESTS)
    else:
        words = [
            draw.choice(["d", "sshd", "in.telnetd", "vsftpd", "unknown", "22", "imap", "d1", "ALL"]),
            draw.choice(NAMES), draw.choice(ADDRESSES), draw.choice(["", "joe", "root", "unknown", "j.doe", "JOE"]),
            draw.choice(["", "localhost", "srv.example.com"]), draw.choice(["", "127.0.0.1", "::1", "10.9.9.9"]),
            draw.choice(["-", "22", "80", "0"]), draw.choice(["-", "40000"]),
        ]
    return "\1".join(word.replace("\n", "").replace("\1", "") for word in words).encode("latin-1", "replace")


def answers_of(questions, environment):
    os.makedirs("/run/answers", exist_ok=True)
    done = subprocess.run([answers, "/run/answers"], input=questions, stdout=subprocess.PIPE, env=environment, check=True)
    text = STALE.sub(r"M warning: \1", done.stdout.decode("latin-1"))
    return re.findall(r"(?:^(?!R ).*\n)*^R .*\n", text, re.M)


asked, stream = [], []
for _ in range(int(sys.argv[5])):
    allow, deny = table(), table()
    sizes = [-1 if text is None else len(text) for text in (allow, deny)]
    stream.append(b"T %d %d\n" % tuple(sizes) + (allow or b"") + (deny or b"") + b"\n")
    for _ in range(3):
        asked.append((allow, deny, request()))
        stream.append(b"Q" + asked[-1][2] + b"\n")
stream = b"".join(stream)
theirs = answers_of(stream, {"PATH": "/bin"})
ours = answers_of(stream, {"PATH": "/bin", "LD_LIBRARY_PATH": library})
differ = sum(one != other for one, other in zip(theirs, ours))
for what, one, other in [row for row in zip(asked, theirs, ours) if row[1] != row[2]][:20]:
    print("asked", what, "\n  theirs", repr(one), "\n  ours  ", repr(other))
if not len(asked) == len(theirs) == len(ours):
    print(f"{len(asked)} asked, {len(theirs)} answered by theirs, {len(ours)} by ours")
    differ += 1
print(f"{len(asked)} cases, {differ} differ")
sys.exit(1 if differ else 0)
