#!/usr/bin/env python3
"""curves.py [--gate GATE] RESULT PICTURES [CURVE...]: what one operation costs, and what is held in memory, as something grows.

Each point is a server of its own. Cost is CPU of all its processes for one connection, pinned to one core; memory is the supervisor's PSS.
Points of one curve are measured up and then down again, and the lower cost of the two counts: what others do on the machine only adds.
"""
import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peers  # noqa: E402
import picture  # noqa: E402
from peers import BARE, BIN, PORT, RUN, Server, generate, harness  # noqa: E402

SOURCES = ['--src', '127.0.1.1/100']
# Waits on its connection until that is closed; no C library, so that thousands are small.
SLEEPER = os.path.join(BIN, 'sleeper')
SLEEPS = r'''
static long call(long n, long a, long b, long c) { long r; __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory"); return r; }
void _start(void) { char x; call(1, 1, (long)"ok\n", 3); call(0, 0, (long)&x, 1); call(60, 0, 0, 0); }
'''
HEAD = '''defaults
{
	log_type = FILE /dev/null
	instances = UNLIMITED
	per_source = UNLIMITED
	cps = 10000000 1
}
'''
SERVICE = '''service bench
{
	id = bench
	type = UNLISTED
	port = %d
	socket_type = stream
	protocol = tcp
	wait = no
	user = root
	server = %s
	flags = NOLIBWRAP
%s}
'''


def log(text):
    print(text, file=sys.stderr, flush=True)


def ask(request, tail=b''):
    """The answer of the supervisor's control socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(120)
        s.connect(os.path.join(RUN, 'curve.control'))
        s.sendall(request.encode() + b'\n')
        try:
            s.sendall(tail)
        except BrokenPipeError:
            # It has refused the rest; its answer says why.
            pass
        answer = b''
        try:
            while part := s.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    return json.loads(answer or '{"ok": false, "error": "it has closed the connection"}')


def ours(gate, conf, *more):
    """Our gate on this configuration."""
    harness.SERVERS['ours'] = lambda kind, ctx: [gate, 'run', '-dontfork', '-f', harness.w('curve.conf', conf), '--control', os.path.join(RUN, 'curve.control'), *more]


def twice(sizes, measure):
    """{size: {name: value}}: up and down again."""
    found = {}
    for size in [*sizes, *reversed(sizes)]:
        row = measure(size)
        if row is None:
            continue
        old = found.setdefault(size, row)
        for key, value in row.items():
            if value is not None and key.endswith('_us'):
                old[key] = min(old.get(key) or value, value)
        log(f'{size:>9} {row}')
    return found


def cost(mode, server, connections=4000, sources=SOURCES):
    """CPU for one connection, µs; the smaller of two goes."""
    arguments = ['-m', mode, '-c', 8, '-n', connections, '-t', 10, '-p', PORT, *sources]
    generate(['-m', mode, '-c', 8, '-n', 200, '-t', 3, '-p', PORT, *SOURCES], server)
    goes = []
    for _ in range(2):
        harness.quiet()
        row = generate(arguments, server)
        if row.get('errors') or not row.get('ok'):
            raise RuntimeError(f'clients were not served: {row}')
        goes.append(row['all_us'])
    return min(goes)


def services(gate):
    """1 to 10,000 services configured, one of them used."""
    def point(count):
        row = {}
        for name in ('ours', 'xinetd'):
            if name == 'ours':
                harness.SERVERS['ours'] = peers.ours(gate)
            try:
                with Server(name, 'spawn', {'nserv': count, 'prog': BARE}) as server:
                    time.sleep(0.2)
                    row[f'{name}_start_ms'] = 1000 * server.spent()['own']
                    row[f'{name}_us'] = cost('eof', server)
                    row[f'{name}_kib'] = harness.mem(server.pid)['pss']
            except RuntimeError as error:
                log(f'{name}, {count} services: {str(error)[-200:]}')
        return row
    return twice([1, 10, 100, 1000, 10_000], point)


def entries(gate):
    """1 to 1,000,000 entries of only_from; a client whom none lets in."""
    def point(count):
        row = {}
        lists = ''.join('\tonly_from ' + ('=' if first == 0 else '+=') + ' ' + ' '.join(f'10.{n >> 16}.{n >> 8 & 255}.{n & 255}' for n in range(first, min(first + 250, count))) + '\n'
                        for first in range(0, count, 250))
        conf = HEAD + SERVICE % (PORT, BARE, lists)
        ours(gate, conf)
        for name in ('ours', 'xinetd'):
            # The original walks its list for each client, and takes minutes to read a long one.
            if name == 'xinetd':
                if count > 10_000:
                    continue
                harness.w('curve.conf', conf)
                harness.SERVERS['curve-xinetd'] = lambda kind, ctx: ['/usr/sbin/xinetd', '-dontfork', '-f', os.path.join(RUN, 'curve.conf'), '-pidfile', RUN + '/x.pid', '-filelog', RUN + '/xd.log']
            try:
                with Server('curve-xinetd' if name == 'xinetd' else name, 'refuse') as server:
                    time.sleep(0.2)
                    row[f'{name}_start_ms'] = 1000 * server.spent()['own']
                    row[f'{name}_us'] = cost('refuse', server)
                    row[f'{name}_kib'] = harness.mem(server.pid)['pss']
            except RuntimeError as error:
                log(f'{name}, {count} entries: {str(error)[-300:]}')
        return row
    return twice([1, 10, 100, 1000, 10_000, 100_000, 1_000_000], point)


def bans(gate):
    """0 to 1,000,000 bans asked for; a client whom none of them means."""
    def point(count):
        ours(gate, HEAD + SERVICE % (PORT, BARE, '\tonly_from = 10.0.0.0/8\n'))
        with Server('ours', 'refuse') as server:
            kept = 0
            if count:
                text = ''.join(f'11.{n >> 16}.{n >> 8 & 255}.{n & 255} 3600\n' for n in range(count)).encode()
                answer = ask(f'import {len(text)}', text)
                if not answer.get('ok'):
                    log(f'{count} bans: {answer}')
                    return None
                until = time.monotonic() + 60
                while time.monotonic() < until:
                    told = ask('status')
                    kept = told['bans'].get('denied', told['bans'].get('wanted', 0))
                    if not told['bans'].get('on_their_way'):
                        break
                    time.sleep(0.2)
            time.sleep(0.5)
            return {'ours_us': cost('refuse', server), 'ours_kib': harness.mem(server.pid)['pss'], 'all_kib': sum(harness.mem(p)['pss'] for p in harness.tree(server.pid)), 'kept': kept}
    return twice([0, 10, 100, 1000, 10_000, 100_000, 262_144, 1_000_000], point)


def programs(pid):
    """How many of the children are no workers of ours."""
    return sum(b'\0worker\0' not in harness.rd(f'/proc/{child}/cmdline').encode() for child in harness.kids(pid))


def hold(first, count):
    """A process that holds so many connections to the second service."""
    pid = os.fork()
    if pid == 0:
        held = []
        try:
            for n in range(first, first + count):
                s = socket.socket()
                s.bind((f'127.2.{n % 200}.1', 0))
                s.connect(('127.0.0.1', PORT + 1))
                held.append(s)
            signal.pause()
        finally:
            os._exit(1)
    return pid


def instances(gate):
    """1 to 20,000 running instances; one more client that is served and goes."""
    if not os.path.exists(SLEEPER):
        subprocess.run(['cc', '-static', '-nostdlib', '-O2', '-o', SLEEPER, '-x', 'c', '-'], input=SLEEPS, text=True, check=True)
    with open('/proc/sys/kernel/pid_max') as file:
        most = int(file.read()) - 6000
    two = SERVICE.replace('id = bench', 'id = %s')
    def point(count):
        if count > most:
            log(f'{count} instances: the kernel gives {most} process numbers here')
            return None
        ours(gate, HEAD + two % ('bench', PORT, BARE, '') + two % ('held', PORT + 1, SLEEPER, ''))
        with Server('ours', 'spawn', {'nserv': 2}) as server:
            before = harness.mem(server.pid)['pss']
            held = []
            try:
                held = [hold(first, min(10_000, count - first)) for first in range(0, count, 10_000)]
                until = time.monotonic() + 60
                while programs(server.pid) < count and time.monotonic() < until:
                    time.sleep(0.1)
                running = programs(server.pid)
                arguments = ['-m', 'eof', '-c', 8, '-n', 3000, '-t', 10, '-p', PORT, *SOURCES]
                goes = []
                for _ in range(2):
                    harness.quiet()
                    # The held ones do nothing, so only the supervisor and what is reaped is asked for.
                    was, reaped = harness.sched_ns(server.pid), harness.stat(server.pid)['ch']
                    row = generate(arguments)
                    used = harness.sched_ns(server.pid) - was + harness.stat(server.pid)['ch'] - reaped
                    goes.append((used * 1e6 / row['ok'], (harness.sched_ns(server.pid) - was) * 1e6 / row['ok']))
                held_kib = harness.mem(server.pid)['pss']
            finally:
                for pid in held:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            until = time.monotonic() + 60
            while programs(server.pid) and time.monotonic() < until:
                time.sleep(0.1)
            left = programs(server.pid)
            return {'ours_us': min(g[0] for g in goes), 'supervisor_us': min(g[1] for g in goes), 'ours_kib': held_kib, 'bytes_each': (held_kib - before) * 1024 / count, 'running': running, 'left': left}
    return twice([1, 10, 100, 1000, 5000, 20_000], point)


def sources(gate):
    """1 to 1,000,000 sources that come once each, with every limit that counts sources on, and that are refused for their address."""
    def point(count):
        ours(gate, HEAD + SERVICE % (PORT, BARE, '\tonly_from = 10.0.0.0/8\n\tper_source = 5\n\tsource_starts_per_minute = 10000\n\tlog_on_failure = HOST\n'))
        with Server('ours', 'refuse') as server:
            before = harness.mem(server.pid)['pss']
            done, first, used = 0, 0, []
            while done < max(count, 4000):
                # The generator numbers its sources from the first anew, so each go begins where the last one ended.
                part = min(200_000, max(count, 4000) - done)
                base = (127 << 24) + (1 << 16) + first
                name = '.'.join(str(base >> shift & 255) for shift in (24, 16, 8, 0))
                row = generate(['-m', 'refuse', '-c', 16, '-n', part, '-t', 20, '-p', PORT, '--src', f'{name}/{min(part, count)}'], server)
                if not row['ok']:
                    raise RuntimeError(f'clients were not refused: {row}')
                used.append(row['all_us'])
                done, first = done + row['ok'], first + row['ok']
            after = harness.mem(server.pid)['pss']
            return {'ours_us': min(used), 'ours_kib': after, 'grown_kib': after - before, 'clients': done}
    return twice([1, 10, 100, 1000, 10_000, 100_000, 1_000_000], point)


CURVES = {
    'services': (services, 'Services configured', 'services', {'ours_us': 'portreeve', 'xinetd_us': 'xinetd'}, {'ours_kib': 'portreeve', 'xinetd_kib': 'xinetd'}),
    'entries': (entries, 'Entries of only_from', 'entries', {'ours_us': 'portreeve', 'xinetd_us': 'xinetd'}, {'ours_kib': 'portreeve', 'xinetd_kib': 'xinetd'}),
    'bans': (bans, 'Bans', 'bans asked for', {'ours_us': 'portreeve'}, {'ours_kib': 'supervisor', 'all_kib': 'all processes'}),
    'instances': (instances, 'Running instances', 'running instances', {'ours_us': 'all', 'supervisor_us': 'supervisor'}, {'ours_kib': 'supervisor'}),
    'sources': (sources, 'Sources', 'sources', {'ours_us': 'portreeve'}, {'ours_kib': 'supervisor'}),
}


def pictures(folder, name, found):
    """Two small pictures: cost and memory."""
    _, title, across, costs, memory = CURVES[name]
    for kind, keys, up, scale in (('cost', costs, 'CPU a connection, µs', 1), ('memory', memory, 'PSS, MiB', 1024)):
        series = {shown: [(int(x), row[key] / scale) for x, row in found.items() if row.get(key) is not None] for key, shown in keys.items()}
        with open(os.path.join(folder, f'curve-{name}-{kind}.svg'), 'w') as file:
            file.write(picture.draw(f'{title}: {kind}', across, up, {k: v for k, v in series.items() if v}))


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument('--gate', required=True)
    words.add_argument('result')
    words.add_argument('pictures')
    words.add_argument('curves', nargs='*', help=', '.join(CURVES))
    options = words.parse_args()
    os.nice(int(os.environ.get('BENCH_NICE', '-10')))
    for name in options.curves:
        if name not in CURVES:
            words.error(f'{name}: unknown curve; expected {", ".join(CURVES)}')
    done = {}
    if os.path.exists(options.result):
        with open(options.result) as file:
            done = json.load(file)
    for name in options.curves or CURVES:
        log(f'{name}: {CURVES[name][0].__doc__}')
        found = CURVES[name][0](options.gate)
        done[name] = {'when': time.strftime('%Y-%m-%d %H:%M'), 'load': os.getloadavg()[0], 'points': {str(k): v for k, v in found.items()}}
        with open(options.result + '.new', 'w') as file:
            json.dump(done, file, indent=0)
        os.replace(options.result + '.new', options.result)
        pictures(options.pictures, name, done[name]['points'])


if __name__ == '__main__':
    main()
