"""Whether the two cores give what they can: a fixed work is timed on each. On a virtual machine whoever has the other half of a core takes a
third of it, by turns of tenths of a second, and no account of ours shows that. Decides nothing but when to measure; makes nothing faster.
"""
import hashlib
import os
import time

CORES = (0, 1)
WORK = b'\0' * (1 << 21)
# A core that takes this much longer than at its best is shared.
SLOWER = 1.15
_best = {}


def pace():
    """How much longer than at its best the slower of the cores takes now: 1 is none."""
    before, found = os.sched_getaffinity(0), 1.0
    try:
        for core in CORES:
            os.sched_setaffinity(0, {core})
            taken = min(_timed() for _ in range(2))
            _best[core] = min(taken, _best.get(core, taken))
            found = max(found, taken / _best[core])
    finally:
        os.sched_setaffinity(0, before)
    return found


def _timed():
    began = time.perf_counter()
    hashlib.blake2b(WORK).digest()
    return time.perf_counter() - began


def is_calm():
    """Whether both cores are ours now."""
    return pace() < SLOWER


def wait(most=1.0):
    """Until both cores are ours, for some seconds at most; whether they are."""
    until = time.monotonic() + most
    while not is_calm():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def learn(seconds=3.0):
    """What the cores can do, before anything is measured."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pace()
        time.sleep(0.02)
