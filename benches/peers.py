"""The servers that are measured, each started for one cell: ours in its settings, the peers, the bare limits.

Built on the harness (../shared/bench): its configurations, its load generator, its ways to start and stop. Owns what the
table adds: CPU of all processes of a server, in nanoseconds where they live, and children that were reaped meanwhile.
"""
import importlib.util
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HARNESS = os.path.join(os.path.dirname(ROOT), 'shared', 'bench')
WORK = os.environ.get('BENCH_WORK', '/tmp/portreeve-bench')

_spec = importlib.util.spec_from_file_location('harness', os.path.join(HARNESS, 'bench.py'))
harness = importlib.util.module_from_spec(_spec)
sys.modules['harness'] = harness
_spec.loader.exec_module(harness)

PORT, BACK = harness.PORT, harness.BACK
RUN, BIN = harness.RUN, harness.BIN

# A child as most are: C, linked dynamically. The harness's own is static.
DYNAMIC = os.path.join(BIN, 'ok-dynamic')
BARE = os.path.join(BIN, 'okmin')
# Fills the memory of the process that it is loaded into.
HOLD = os.path.join(BIN, 'hold.so')
FILLER = r'''
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
/* Fills HOLD_MIB of this process's memory with pages of their own; whoever it executes is left alone. */
__attribute__((constructor)) static void hold(void) {
    const char *mib = getenv("HOLD_MIB");
    if (!mib) return;
    size_t n = (size_t)atol(mib) << 20;
    unsetenv("HOLD_MIB"); unsetenv("LD_PRELOAD");
    char *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    madvise(p, n, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < n; i += 4096) p[i] = 1;
}
'''


def build():
    """What the harness does not build."""
    source = os.path.join(WORK, 'src', 'ok.c')
    if not os.path.exists(DYNAMIC):
        subprocess.run(['cc', '-O2', '-o', DYNAMIC, source], check=True)
    if not os.path.exists(HOLD):
        subprocess.run(['cc', '-O2', '-shared', '-fPIC', '-x', 'c', '-o', HOLD, '-'], input=FILLER, text=True, check=True)


def ours(gate, log=False, wrap=False, ledger=False, hold=0):
    """Our gate; `hold`: so many MiB of memory are held by the supervisor."""
    def command(kind, ctx):
        conf = harness.xconf(kind, ctx, log=log, wrap=wrap, extra=ctx.get('extra', ''))
        if ctx.get('conf'):
            conf = harness.w('x.conf', ctx['conf'])
        argv = [gate, 'run', '-dontfork', '-f', conf]
        if ledger:
            argv += ['--ledger', os.path.join(RUN, 'ledger')]
        if hold:
            argv = ['/usr/bin/env', f'HOLD_MIB={hold}', f'LD_PRELOAD={HOLD}'] + argv
        return argv
    return command


def staffed(gate):
    """Ours with the ledger, a built-in and a redirected service beside the others, at the ports before them: with every default worker."""
    def command(kind, ctx):
        argv = ours(gate, True, True, True)(kind, ctx)
        first = PORT - 2
        with open(argv[argv.index('-f') + 1], 'a') as file:
            file.write(f'service echo\n{{\n type = INTERNAL UNLISTED\n id = built-in\n port = {first}\n socket_type = stream\n wait = no\n user = root\n}}\n')
            file.write(f'service away\n{{\n type = UNLISTED\n port = {first + 1}\n socket_type = stream\n protocol = tcp\n wait = no\n user = root\n'
                       f' redirect = 127.0.0.1 {BACK}\n}}\n')
        return argv
    return command


def nginx_half(kind, ctx):
    """nginx that passes a client's half-close on, as a proxy must that loses nothing. Its default closes both sides when one ends."""
    argv = harness.SERVERS['nginx'](kind, ctx)
    conf = os.path.join(RUN, 'n.conf')
    with open(conf) as file:
        text = file.read()
    with open(conf, 'w') as file:
        file.write(text.replace('proxy_pass ', 'proxy_half_close on; proxy_pass '))
    return argv


def register(gate):
    """Variants of a peer and of ours under their names in the table."""
    harness.SERVERS['nginx-half'] = nginx_half
    if gate:
        harness.SERVERS.update({
            'ours': ours(gate), 'ours-wrap': ours(gate, wrap=True), 'ours-full': ours(gate, True, True, True),
            'ours-log-ledger': ours(gate, True, False, True), 'ours-held': ours(gate, hold=512), 'ours-staffed': staffed(gate),
        })


def listed(pid):
    """The processes of a server that live now: pid and CPU in seconds."""
    found = {}
    for one in harness.tree(pid):
        used = harness.sched_ns(one)
        if used is not None:
            found[one] = used
    return found


class Server(harness.Srv):
    """A server that runs; used with `with`."""

    def __init__(self, name, kind, ctx=None, cpu=0, lastport=None):
        # Where a service manager starts them; xinetd goes there itself.
        os.chdir('/')
        super().__init__(name, kind, ctx or {}, cpu, lastport)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def spent(self):
        """Seconds of CPU so far: the server process, its live workers, and children that were reaped (in ticks of 10 ms)."""
        live = listed(self.pid)
        own = live.pop(self.pid, 0.0)
        now = harness.stat(self.pid)
        return {'own': own, 'workers': sum(live.values()), 'reaped': now['ch'] if now else 0.0}


def generate(args, server=None, cpu=1, backend=None, settle=0.12):
    """One run of the load generator; what it says, and CPU an operation in µs: of the server, of its workers, of all."""
    before, busy, began = server.spent() if server else None, harness.busy(), time.monotonic()
    theirs = harness.sched_ns(backend) if backend else 0
    pinned = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
    ran = subprocess.run([harness.LG] + [str(a) for a in args], capture_output=True, text=True, preexec_fn=pinned, timeout=120)
    time.sleep(settle)
    wall = time.monotonic() - began
    try:
        row = json.loads(ran.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {'ok': 0, 'rate': None, 'failed': (ran.stderr + ran.stdout)[-300:]}
    row['errors'] = sum(row[k] for k in ('refused', 'reset', 'short', 'timeout', 'other'))
    if before:
        after = server.spent()
        used = {k: max(0.0, after[k] - before[k]) for k in after}
        count = max(1, row['ok'] + row['refused'] + row['reset'] + row['short'])
        row['own_us'] = used['own'] * 1e6 / count
        row['all_us'] = sum(used.values()) * 1e6 / count
        if row.get('bytes'):
            row['gb_ms'] = sum(used.values()) * 1e3 / (row['bytes'] / 1e9)
        others = harness.busy()[0] - busy[0] - sum(used.values()) - row['lg_cpu']
        if backend:
            others -= (harness.sched_ns(backend) or 0) - (theirs or 0)
        row['foreign'] = max(0.0, others) / wall
    return row
