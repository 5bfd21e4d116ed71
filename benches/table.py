#!/usr/bin/env python3
"""table.py [--gate GATE] RESULT REPS SECONDS [PART...]: measures what the table of goals needs, on this machine, in one run.

Within a part every repetition runs every server once, in rotating order: ours, the peers that are there, the bare limit. One core for a
server and all its processes, the other for the load generator. goals.py makes the table of what is written here.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import calm  # noqa: E402
import peers  # noqa: E402
from peers import BACK, BARE, BIN, DYNAMIC, PORT, RUN, Server, generate, harness  # noqa: E402

SOURCES = ['--src', '127.0.1.1/100']
DENY = '/run/nsfiles/hosts.deny'
LINES = 10_000
# So often one is made before it is taken as it is.
ATTEMPTS = 4
# What a row of several goes has of all of them.
COUNTED = ('ok', 'refused', 'reset', 'short', 'timeout', 'other', 'errors', 'lost', 'shared')


def there(names, gate):
    """Those of the names that can be measured here."""
    def is_there(name):
        if name.startswith('ours'):
            return bool(gate)
        if name in ('nginx', 'nginx-half', 'haproxy', 'haproxy-splice'):
            return os.path.exists(f'{peers.WORK}/peers/{name.split("-")[0]}/usr/sbin/{name.split("-")[0]}')
        return name != 'tcpserver' or os.path.exists('/usr/bin/tcpserver')
    return [name for name in names if is_there(name)]


def sweep(part, kind, names, cells, options, ctx=None, back=None, label=''):
    """Runs cells [(label, arguments of the load generator)] on all servers, by turns; returns the rows."""
    rows, backend = [], None
    names = there(names, options.gate)
    if back:
        backend = subprocess.Popen([BIN + '/echod', str(BACK), back], preexec_fn=lambda: os.sched_setaffinity(0, {1}))
        while not harness.listening(BACK):
            time.sleep(0.01)
    try:
        for rep in range(options.reps):
            for name in harness.order(names, rep):
                try:
                    with Server(name, kind, ctx(name) if callable(ctx) else dict(ctx or {})) as server:
                        warm = cells[0][1]
                        generate(shortened(warm), server, settle=0.2)
                        for cell, arguments in cells:
                            rows.append(one(part, name, cell + label, rep, arguments, server, backend))
                except RuntimeError as error:
                    print(f'{part}: {name}: {error}', file=sys.stderr)
    finally:
        if backend:
            backend.kill()
            backend.wait()
    return rows


def shortened(arguments):
    """The same load for a moment: workers start, tables are read, caches fill."""
    words = [str(a) for a in arguments]
    words[words.index('-t') + 1] = '0.15'
    return words


def one(part, name, cell, rep, arguments, server, backend=None, cpu=1):
    """One cell: the middle of three goes, figure by figure, since a shared machine falters for a tenth of a second and more. A go is
    made again where others had more than 0.3 of a core meanwhile, or a core was slow before it or behind it (calm.py). What was lost or went
    wrong is that of all of them."""
    goes = []
    for _ in range(3):
        for attempt in range(ATTEMPTS):
            harness.quiet()
            calm.wait()
            go = generate(arguments, server, cpu=cpu, backend=backend.pid if backend else None)
            go['shared'] = int(not calm.is_calm())
            if go.get('foreign', 0) < 0.3 and not go['shared']:
                break
        goes.append(dict(go, attempt=attempt))
    row = {'goes': len(goes)}
    for key in goes[0]:
        figures = [go[key] for go in goes if isinstance(go.get(key), (int, float))]
        if figures:
            row[key] = sum(figures) if key in COUNTED else statistics.median(figures)
    row.update(part=part, server=name, cell=cell, rep=rep)
    print(f'{part:10} {name:16} {cell:12} {row.get("rate") or 0:9.0f}/s own {row.get("own_us", 0):6.1f} all {row.get("all_us", 0):7.1f} µs '
          f'p99 {row.get("p99_us", 0):8.0f} {row.get("gbps", 0):5.2f} GB/s errors {row.get("errors")} foreign {row.get("foreign", 0):.2f}', file=sys.stderr)
    return row


def clients(mode, count, options, *more):
    return ['-m', mode, '-c', count, '-t', options.seconds, '-p', PORT, *more]


def spawn(options):
    cells = [('c16', clients('eof', 16, options, '--expect', 3, *SOURCES))]
    rows = sweep('spawn', 'spawn', ['xinetd', 'xinetd-wrap-log', 'tcpserver', 'ours', 'ours-full', 'lim-contract', 'lim-clone3'],
                 cells, options, {'prog': BARE})
    cells.append(('c128', clients('eof', 128, options, '--expect', 3, *SOURCES)))
    names = ['xinetd', 'tcpserver', 'ours', 'ours-full', 'lim-contract', 'lim-clone3']
    return rows + sweep('dynamic', 'spawn', names, cells, options, {'prog': DYNAMIC})


def services(options):
    rows = []
    cells = [('c16', clients('eof', 16, options, '--expect', 3, *SOURCES))]
    # One after the other in each repetition, so that what the machine does meets both.
    single = argparse.Namespace(**{**vars(options), 'reps': 1})
    for rep in range(options.reps):
        for count in ((1, 500) if rep % 2 else (500, 1)):
            found = sweep('services', 'spawn', ['xinetd', 'ours', 'lim-clone3f'], cells, single, {'prog': BARE, 'nserv': count}, label=f' n{count}')
            rows += [dict(row, rep=rep) for row in found]
    return rows


def held(options):
    cells = [('c1', clients('eof', 1, options, '--expect', 3, *SOURCES))]
    rows = sweep('held', 'spawn', ['ours', 'ours-held', 'lim-clone3'], cells, options, {'prog': BARE})
    return rows + sweep('held', 'spawn', ['lim-fork'], cells, options, {'prog': BARE, 'rss': 512})


def refusals(options):
    listed = harness.w('acl.txt', ''.join(f'127.0.1.{n}\n' for n in range(1, 101)))
    only = {'extra': ' only_from = 10.0.0.0/8\n', 'acl': listed}
    cells = [('c16', clients('refuse', 16, options, *SOURCES))]
    rows = sweep('refusals', 'refuse', ['xinetd', 'ours', 'ours-log-ledger', 'lim-acl'], cells, options, only)
    with open(DENY, 'w') as table:
        table.writelines(f'ALL: 10.{n // 250}.{n % 250}.7\n' for n in range(LINES - 1))
        table.write('ALL: 127.0.1.\n')
    # A table that was just changed is read for each client, until its time stamp would show another change.
    time.sleep(3)
    try:
        return rows + sweep('tables', 'refuse', ['xinetd-wrap', 'ours-wrap', 'lim-acl'], cells, options, {'acl': listed})
    finally:
        with open(DENY, 'w') as table:
            table.write('# empty\n')


def builtin(options):
    names = ['xinetd', 'ours', 'lim-echo']
    rows = sweep('echo', 'echo', names, [('c16', clients('echo', 16, options, '-b', 64, *SOURCES))], options)
    return rows + sweep('datagrams', 'uecho', names, [('c16', clients('udp', 16, options, '-b', 64))], options)


def redirect(options):
    names = ['xinetd', 'nginx', 'haproxy', 'haproxy-splice', 'ours', 'lim-splice', 'lim-copy']
    rows = sweep('carried', 'redirect', names + ['nginx-half'], [('c16', clients('echo', 16, options, '-b', 64, *SOURCES))], options, back='echo')
    bulk = [('c1', ['-m', 'bulk', '-c', 1, '-x', 700, '-n', 1, '-t', 2, '-p', PORT])]
    return rows + sweep('bulk', 'redirect', names, bulk, options, back='source')


def parked(options):
    """500 connections that say nothing: memory of all processes, and of the largest one but the supervisor."""
    rows = []
    backend = subprocess.Popen([BIN + '/echod', str(BACK), 'echo'])
    try:
        while not harness.listening(BACK):
            time.sleep(0.01)
        for rep in range(min(options.reps, 3)):
            for name in harness.order(there(['xinetd', 'nginx', 'haproxy', 'ours', 'lim-splice'], options.gate), rep):
                with Server(name, 'redirect') as server:
                    generate(['-m', 'echo', '-c', 1, '-n', 20, '-t', 2, '-b', 64, '-p', PORT])
                    before = harness.mem(server.pid)['pss']
                    load = subprocess.Popen([harness.LG, '-m', 'idle', '-c', '500', '-b', '64', '--hold', '1.5', '-t', '20', '-p', str(PORT), *SOURCES],
                                            stdout=subprocess.PIPE, text=True)
                    ready = load.stdout.readline().strip()
                    found = harness.tree(server.pid)
                    sizes = [harness.mem(pid)['pss'] for pid in found]
                    load.communicate()
                    rows.append({'part': 'parked', 'server': name, 'cell': '500', 'rep': rep, 'ready': ready == 'READY', 'processes': len(found),
                                 'pss_kib': sum(sizes), 'grown_kib': max(0, sizes[0] - before), 'carrier_kib': carrier_of(found, sizes)})
                    print(rows[-1], file=sys.stderr)
    finally:
        backend.kill()
        backend.wait()
    return rows


def carrier_of(found, sizes):
    """Of ours the proxy worker; of others the only process there is."""
    for pid, size in zip(found, sizes):
        if b'\0proxy\0' in harness.rd(f'/proc/{pid}/cmdline').encode():
            return size
    return sizes[0]


def footprint(options):
    """Idle memory and the CPU of a start; the CPU of a reload that changes nothing, and of one that changes every service."""
    rows = []
    for count in (10, 1000):
        for rep in range(options.reps):
            for name in harness.order(there(['xinetd', 'ours', 'lim-clone3'], options.gate), rep):
                for attempt in range(ATTEMPTS):
                    harness.quiet()
                    row = {'part': 'footprint', 'server': name, 'cell': str(count), 'rep': rep, 'goes': 1, **estate(name, count, calm.wait())}
                    if not row['shared']:
                        break
                rows.append(row)
                print(row, file=sys.stderr)
            if options.gate:
                rows.append({'part': 'footprint', 'server': 'ours-staffed', 'cell': str(count), 'rep': rep, **staffed(count)})
                print(rows[-1], file=sys.stderr)
    return rows


def staffed(count):
    """Idle memory of all processes, with each worker there."""
    with Server('ours-staffed', 'spawn', {'nserv': count, 'prog': BARE}) as server:
        # The ledger gives back what it needs no more after a second.
        time.sleep(1.7)
        found = harness.tree(server.pid)
        return {'processes': len(found), 'all_pss_kib': sum(harness.mem(pid)['pss'] for pid in found)}


def estate(name, count, is_calm):
    """A start and two reloads, each with the cores ours before and behind it, or the row is marked."""
    ctx = {'nserv': count, 'prog': BARE}
    with Server(name, 'spawn', ctx) as server:
        time.sleep(0.3)
        row = {'pss_kib': harness.mem(server.pid)['pss'], 'start_ms': 1000 * server.spent()['own'],
               'all_pss_kib': sum(harness.mem(p)['pss'] for p in harness.tree(server.pid))}
        is_calm = calm.is_calm() and is_calm
        if not name.startswith('lim') and count == 1000:
            for key, more in (('unchanged_ms', ''), ('changed_ms', ' nice = 3\n')):
                harness.SERVERS[name]('spawn', dict(ctx, extra=more))
                calm.wait()
                row[key] = reload_of(server)
                is_calm = calm.is_calm() and is_calm
            row['gap_ms'], row['lost'] = gap_of(server, name, ctx, 20)
            row['gap_none_ms'], _ = gap_of(server, name, ctx, 0)
        return dict(row, shared=int(not is_calm))


def gap_of(server, name, ctx, hangups):
    """The longest, in ms, that one client after the other waits, and how many were lost, while each service is changed ten times a second."""
    load = subprocess.Popen([harness.LG, '-m', 'eof', '-c', '1', '-t', '2.5', '-p', str(PORT), '--nports', str(ctx['nserv']), '--expect', '3',
                             '--timeout', '3', *SOURCES], stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {1}))
    time.sleep(0.3)
    for turn in range(hangups):
        harness.SERVERS[name]('spawn', dict(ctx, extra=f' nice = {1 + turn % 2}\n'))
        os.kill(server.pid, signal.SIGHUP)
        time.sleep(0.1)
    row = json.loads(load.communicate()[0].strip().splitlines()[-1])
    return row['max_us'] / 1000, sum(row.get(key, 0) for key in ('reset', 'short', 'timeout', 'refused', 'other'))


def reload_of(server):
    """Milliseconds of the server's CPU for SIGHUP: until its clock has stood still for a quarter of a second. Ours tidies up 100 ms behind it,
    which counts."""
    began = last = server.spent()['own']
    os.kill(server.pid, signal.SIGHUP)
    still = time.monotonic()
    until = still + 10
    while time.monotonic() < until and (last == began or time.monotonic() - still < 0.25):
        time.sleep(0.005)
        now = server.spent()['own']
        if now != last:
            last, still = now, time.monotonic()
    return 1000 * (last - began)


def cores(options):
    """The same load on a server that has one core (the generator has the other), and on one that shares both with the generator: what the
    loop and its workers gain by running side by side."""
    rows = []
    only = {'extra': ' only_from = 10.0.0.0/8\n'}
    works = [('spawn', 'spawn', clients('eof', 16, options, '--expect', 3, *SOURCES), {'prog': BARE}, None),
             ('echo', 'echo', clients('echo', 16, options, '-b', 64, *SOURCES), {}, None),
             ('refusals', 'refuse', clients('refuse', 16, options, *SOURCES), only, None),
             ('redirect', 'redirect', clients('echo', 16, options, '-b', 64, *SOURCES), {}, 'echo')]
    for cell, kind, arguments, ctx, back in works if options.gate else []:
        for rep in range(options.reps):
            for name, core in harness.order([('one', 0), ('both', None)], rep):
                other = None if core is None else 1
                free = (lambda: os.sched_setaffinity(0, {1})) if other else None
                backend = subprocess.Popen([BIN + '/echod', str(BACK), back], preexec_fn=free) if back else None
                try:
                    while back and not harness.listening(BACK):
                        time.sleep(0.01)
                    with Server('ours', kind, dict(ctx), cpu=core) as server:
                        generate(shortened(arguments), server, cpu=other, settle=0.2)
                        rows.append(one('cores', name, cell, rep, arguments, server, backend, cpu=other))
                finally:
                    if backend:
                        backend.kill()
                        backend.wait()
    return rows


PARTS = {'spawn': spawn, 'services': services, 'held': held, 'refusals': refusals, 'builtin': builtin, 'redirect': redirect,
         'parked': parked, 'footprint': footprint, 'cores': cores}


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument('result')
    words.add_argument('reps', type=int)
    words.add_argument('seconds', type=float)
    words.add_argument('--gate', default='')
    words.add_argument('parts', nargs='*', help=', '.join(PARTS))
    options = words.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        words.error(f'{unknown[0]}: unknown part; expected {", ".join(PARTS)}')
    os.nice(int(os.environ.get('BENCH_NICE', '-10')))
    peers.build()
    peers.register(options.gate)
    calm.learn()
    chosen = options.parts or list(PARTS)
    rows = []
    if os.path.exists(options.result):
        with open(options.result) as file:
            before = json.load(file)
        # What is measured anew takes the place of what was.
        rows = [row for row in before['rows'] if row['of'] not in chosen]
    for part in chosen:
        found = PARTS[part](options)
        rows += [dict(row, of=part) for row in found]
        load = os.getloadavg()[0]
        meanwhile = sorted(row['foreign'] for row in found if 'foreign' in row)
        about = {'of': part, 'part': 'about', 'when': time.strftime('%Y-%m-%d %H:%M'), 'load': load,
                 'goes': sum(row.get('goes', 0) for row in found), 'shared': sum(row.get('shared', 0) for row in found),
                 'foreign': meanwhile[len(meanwhile) // 2] if meanwhile else None}
        rows.append(about)
        with open(options.result + '.new', 'w') as file:
            json.dump({'rows': rows}, file, indent=0)
        os.replace(options.result + '.new', options.result)


if __name__ == '__main__':
    main()
