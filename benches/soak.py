#!/usr/bin/env python3
"""soak.py --gate GATE RESULT MINUTES: everything at once for a long time, then: is memory flat, is a descriptor or a process left?

Clients of programs, of built-ins (streams and datagrams), of a redirected service, and such that are refused, all the time; a reload that
changes a limit and the rotation of the log every few seconds. Two rests, one after a warm-up and one at the end: what is held then must be
the same. Exits 1 when it is not, or when a client was not served.
"""
import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peers  # noqa: E402
from peers import BACK, BARE, BIN, PORT, RUN, harness  # noqa: E402

CONF, LOG, LEDGER = (os.path.join(RUN, name) for name in ('soak.conf', 'soak.log', 'soak-ledger'))
# What may differ between the two rests: pages of the allocator, of the database.
MOST_MORE_KIB, MOST_MORE = 512, 1.10
COMMON = '\ttype = %s\n\tport = %d\n\tsocket_type = %s\n\tprotocol = %s\n\twait = %s\n\tuser = root\n'
LOADS = {
    'programs': ['-m', 'eof', '-c', 8, '-p', PORT, '--expect', 3],
    'echo': ['-m', 'echo', '-c', 8, '-b', 64, '-p', PORT + 1],
    'datagrams': ['-m', 'udp', '-c', 4, '-b', 64, '-p', PORT + 2],
    'redirect': ['-m', 'echo', '-c', 8, '-b', 2000, '-p', PORT + 3],
    'refused': ['-m', 'refuse', '-c', 4, '-p', PORT + 4],
}


def configure(turn):
    """All services; one limit differs from turn to turn, so that a reload has something to do."""
    def service(name, kind, port, more, datagrams=False):
        common = COMMON % (kind, port, *(('dgram', 'udp', 'yes') if datagrams else ('stream', 'tcp', 'no')))
        return f'service {name}\n{{\n\tid = {name}-{port}\n{common}{more}\tinstances = {1000 + turn % 2}\n}}\n'
    text = (f'defaults\n{{\n\tlog_type = FILE {LOG}\n\tlog_on_success = PID HOST EXIT DURATION\n\tlog_on_failure = HOST\n\tcps = 10000000 1\n'
            '\tper_source = UNLIMITED\n}\n')
    text += service('program', 'UNLISTED', PORT, f'\tserver = {BARE}\n')
    text += service('echo', 'INTERNAL UNLISTED', PORT + 1, '')
    text += service('echo', 'INTERNAL UNLISTED', PORT + 2, '', True)
    text += service('carried', 'UNLISTED', PORT + 3, f'\tredirect = 127.0.0.1 {BACK}\n\tlog_on_success += TRAFFIC\n')
    text += service('refused', 'UNLISTED', PORT + 4, f'\tserver = {BARE}\n\tonly_from = 10.0.0.0/8\n')
    with open(CONF + '.new', 'w') as file:
        file.write(text)
    os.replace(CONF + '.new', CONF)


def role(pid):
    with open(f'/proc/{pid}/cmdline', 'rb') as file:
        words = file.read().split(b'\0')
    return words[2].decode() if len(words) > 2 and words[1] == b'worker' else 'supervisor' if b'run' in words else 'program'


def own_kib(pid):
    """Memory that is no file's, in KiB: the shares of a program's text hang on who else runs it."""
    found = re.search(r'^Anonymous:\s+(\d+)', harness.rd(f'/proc/{pid}/smaps_rollup'), re.M)
    return int(found.group(1)) if found else 0


def look(pid):
    """What each process that stays holds: {role: (KiB, descriptors)}; and how many zombies there are."""
    held, dead = {}, 0
    for one in harness.tree(pid):
        try:
            if harness.stat(one)['state'] == 'Z':
                dead += 1
                continue
            what = role(one)
            if what != 'program':
                held[what] = (own_kib(one), len(os.listdir(f'/proc/{one}/fd')))
        except (OSError, TypeError):
            continue
    return held, dead


class Loads:
    """All load generators, each started again when it has ended."""

    def __init__(self):
        self.over = threading.Event()
        self.done = {name: {'ok': 0, 'errors': 0} for name in LOADS}
        self.threads = [threading.Thread(target=self.keep, args=(name,)) for name in LOADS]
        for thread in self.threads:
            thread.start()

    def keep(self, name):
        while not self.over.is_set():
            ran = subprocess.run([harness.LG, *map(str, LOADS[name]), '-t', '5', '--src', '127.0.1.1/100'], capture_output=True, text=True)
            try:
                row = json.loads(ran.stdout.strip().splitlines()[-1])
            except (ValueError, IndexError):
                row = {'ok': 0, 'other': 1}
            self.done[name]['ok'] += row['ok']
            # A refused client may see its connection reset: that is no error of the server.
            self.done[name]['errors'] += sum(row.get(k, 0) for k in ('refused', 'reset', 'short', 'timeout', 'other', 'unexpected_data')
                                             if not (name == 'refused' and k == 'reset'))

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def rest(pid):
    """Waits until nothing but the workers is left, and looks."""
    until = time.monotonic() + 30
    while time.monotonic() < until and any(role_or_none(one) == 'program' for one in harness.kids(pid)):
        time.sleep(0.2)
    time.sleep(3)
    held, dead = look(pid)
    left = sum(role_or_none(one) == 'program' for one in harness.kids(pid))
    return held, dead + left


def role_or_none(pid):
    try:
        return role(pid)
    except OSError:
        return None


def load_for(seconds, pid, samples):
    """Load, reloads and rotations for so long; what was seen of memory meanwhile."""
    loads, turn, until = Loads(), 0, time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(5, max(0.1, until - time.monotonic())))
        turn += 1
        configure(turn)
        if os.path.exists(LOG):
            os.replace(LOG, LOG + '.old')
        os.kill(pid, signal.SIGHUP)
        samples.append({'at': time.monotonic(), 'held': look(pid)[0]})
    loads.end()
    return loads.done


def judge(first, last, samples, done):
    """What is wrong, in words."""
    wrong = []
    for what, (kib, fds) in last[0].items():
        was = first[0].get(what)
        if was is None:
            continue
        if fds > was[1]:
            wrong.append(f'{what}: {fds} descriptors, {was[1]} before')
        if kib > was[0] * MOST_MORE + MOST_MORE_KIB:
            wrong.append(f'{what}: {kib} KiB, {was[0]} before')
    wrong += [f'{what} is gone' for what in first[0] if what not in last[0]]
    if last[1]:
        wrong.append(f'{last[1]} ended or idle processes are left')
    quarter = max(1, len(samples) // 4)
    for what in first[0]:
        early, late = ([s['held'][what][0] for s in part if what in s['held']] for part in (samples[:quarter], samples[-quarter:]))
        if early and late and statistics.median(late) > statistics.median(early) * MOST_MORE + MOST_MORE_KIB:
            wrong.append(f'{what} grew under load: {statistics.median(early)} KiB, then {statistics.median(late)} KiB')
    wrong += [f'{name}: {row["errors"]} of {row["ok"]} clients were not served' for name, row in done.items() if row['errors'] or not row['ok']]
    return wrong


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument('--gate', required=True)
    words.add_argument('result')
    words.add_argument('minutes', type=float)
    options = words.parse_args()
    configure(0)
    harness.SERVERS['ours'] = lambda kind, ctx: [options.gate, 'run', '-dontfork', '-f', CONF, '--ledger', LEDGER]
    backend = subprocess.Popen([BIN + '/echod', str(BACK), 'echo'])
    samples, began = [], time.strftime('%Y-%m-%d %H:%M')
    try:
        with peers.Server('ours', 'spawn', cpu=None) as server:
            load_for(min(60, options.minutes * 6), server.pid, [])
            first = rest(server.pid)
            done = load_for(options.minutes * 60, server.pid, samples)
            last = rest(server.pid)
    finally:
        backend.kill()
        backend.wait()
        for path in (LOG, LOG + '.old'):
            if os.path.exists(path):
                os.unlink(path)
    wrong = judge(first, last, samples, done)
    for what, (kib, fds) in sorted(last[0].items()):
        most = max((s['held'][what][0] for s in samples if what in s['held']), default=kib)
        was = first[0].get(what, (0, 0))
        print(f'{what:12} {was[0]:7} KiB and {was[1]:4} descriptors before, {kib:7} KiB and {fds:4} after; at most {most} KiB under load')
    for name, row in done.items():
        print(f'{name:12} {row["ok"]:10} served, {row["errors"]} not')
    print('\n'.join(wrong) or f'{options.minutes:g} minutes, {len(samples)} reloads: memory is flat, nothing is left')
    with open(options.result, 'w') as file:
        json.dump({'when': began, 'minutes': options.minutes, 'reloads': len(samples), 'first': first[0], 'last': last[0], 'left': last[1], 'clients': done,
                   'most': {w: max((s['held'][w][0] for s in samples if w in s['held']), default=0) for w in last[0]}, 'wrong': wrong,
                   'load': os.getloadavg()[0]}, file, indent=0)
    sys.exit(1 if wrong else 0)


if __name__ == '__main__':
    main()
