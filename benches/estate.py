#!/usr/bin/env python3
"""estate.py RESULT WORK REPS [--services N,N] [--only NAME,NAME] [GATE]: what a configuration of many services costs: to start, to hold, to
read again. xinetd, inetutils' inetd where its package is unpacked in WORK/peers, the bare limit (bind, listen, epoll), and portreeve.

Runs in network, mount and process namespaces of its own (scripts/bench makes them), servers pinned to CPU 0. CPU is the
server's own time by schedstat, in nanoseconds, from its first instruction on; workers are counted apart. In each repetition all
servers run, in rotating order.
"""
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time

PORT = 20000
QUIET = 0.06


def text_of(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ''


def cpu(pid):
    """Nanoseconds that a process has run, all threads."""
    try:
        return sum(int(text_of(f'/proc/{pid}/task/{tid}/schedstat').split()[0]) for tid in os.listdir(f'/proc/{pid}/task'))
    except (OSError, IndexError):
        return 0


def children(pid):
    return [int(child) for child in text_of(f'/proc/{pid}/task/{pid}/children').split()]


def family(pid):
    return [pid] + [one for child in children(pid) for one in family(child)]


def pss(pid):
    found = re.search(r'^Pss:\s+(\d+)', text_of(f'/proc/{pid}/smaps_rollup'), re.M)
    return int(found.group(1)) if found else 0


def xinetd_conf(path, count, turn):
    # Every service differs from the last turn's in what its program is started with.
    stanza = ('service s{n}\n{{\n\ttype = UNLISTED\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\tuser = root\n\tport = {port}\n'
              '\tserver = {server}\n\tinstances = {instances}\n\tnice = {nice}\n\tflags = NOLIBWRAP\n}}\n')
    write(path, 'defaults\n{\n\tlog_type = FILE /dev/null\n\tcps = 10000000 1\n}\n' + ''.join(
        stanza.format(n=n, port=PORT + n, server=OK, nice=turn, instances=5000 + turn) for n in range(count)))


def inetd_conf(path, count, turn):
    write(path, ''.join(f'{PORT + n} stream tcp nowait root {OK} ok turn{turn}\n' for n in range(count)))


def write(path, text):
    with open(path + '.new', 'w') as file:
        file.write(text)
    os.rename(path + '.new', path)


def listens(port):
    wanted = f':{port:04X} '
    return any(wanted in line and line.split()[3] == '0A' for name in ('tcp', 'tcp6')
               for line in text_of(f'/proc/self/net/{name}').splitlines()[1:])


class Server:
    def __init__(self, command, conf, write_conf, count, background):
        write_conf(conf, count, 0)
        environment = dict(os.environ)
        if '/peers/' in command[0]:
            environment['LD_LIBRARY_PATH'] = f'{WORK}/peers/libs/usr/lib/x86_64-linux-gnu'
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env=environment, preexec_fn=lambda: os.sched_setaffinity(0, {0}))
        self.pid = self.process.pid
        for _ in range(3000):
            if listens(PORT + count - 1):
                break
            time.sleep(0.01)
        else:
            raise SystemExit(f'{command} does not listen')
        if background:
            # It goes there, and comes to us.
            self.process.wait(10)
            self.pid = next(pid for pid in children(os.getpid()) if text_of(f'/proc/{pid}/smaps_rollup'))
        self.quiet()

    def quiet(self):
        """When its clock has stood still for a while, what it stands at."""
        last, since = cpu(self.pid), time.monotonic()
        while time.monotonic() - since < QUIET:
            time.sleep(0.005)
            now = cpu(self.pid)
            if now != last:
                last, since = now, time.monotonic()
        return last

    def hangup(self):
        before = self.quiet()
        os.kill(self.pid, signal.SIGHUP)
        return (self.quiet() - before) / 1e6

    def stop(self):
        for pid in reversed(family(self.pid)):
            try:
                os.kill(pid, signal.SIGTERM if pid == self.pid else signal.SIGKILL)
            except OSError:
                pass
        deadline = time.monotonic() + 5
        while os.path.exists(f'/proc/{self.pid}') and time.monotonic() < deadline:
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pass
            time.sleep(0.005)


def gap(server, count, conf, write_conf, hangups):
    """The longest that one client after the other waits, and how many were lost, while the server reloads every 100 ms."""
    load = subprocess.Popen([f'{WORK}/bin/loadgen', '-m', 'eof', '-c', '1', '-t', '3', '-p', str(PORT), '--nports', str(count), '--expect', '3',
                             '--timeout', '3', '--src', '127.0.1.1/100'], stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {1}))
    time.sleep(0.3)
    for turn in range(hangups):
        write_conf(conf, count, 1 + turn % 2)
        os.kill(server.pid, signal.SIGHUP)
        time.sleep(0.1)
    row = json.loads(load.communicate()[0].strip().splitlines()[-1])
    return row['max_us'] / 1000, sum(row.get(key, 0) for key in ('reset', 'short', 'timeout', 'refused', 'other'))


def measure(command, conf, write_conf, count, reloads, background):
    server = Server(command, conf, write_conf, count, background)
    try:
        row = dict(start_ms=cpu(server.pid) / 1e6)
        time.sleep(0.2)
        processes = family(server.pid)
        row.update(pss=pss(server.pid), pss_all=sum(map(pss, processes)), start_all_ms=sum(map(cpu, processes)) / 1e6)
        if not reloads:
            return row
        row['unchanged_ms'] = statistics.median(server.hangup() for _ in range(5))
        changed = []
        for turn in (1, 2, 1, 2, 1):
            write_conf(conf, count, turn)
            changed.append(server.hangup())
        row['changed_ms'] = statistics.median(changed)
        row['pss_after'] = pss(server.pid)
        if count <= 1000:
            row['gap_ms'], row['lost'] = gap(server, count, conf, write_conf, 20)
            row['gap_none_ms'], _ = gap(server, count, conf, write_conf, 0)
        return row
    finally:
        server.stop()


def main():
    global WORK, OK
    words = sys.argv[1:]
    options = {}
    for name in ('--services', '--only'):
        if name in words:
            at = words.index(name)
            options[name] = words[at + 1].split(',')
            del words[at:at + 2]
    result, WORK, reps = words[0], words[1], int(words[2])
    OK = f'{WORK}/bin/okmin'
    for name, value in (('ip_local_port_range', '32768 65000'), ('tcp_tw_reuse', '1'), ('tcp_max_tw_buckets', '262144')):
        with open(f'/proc/sys/net/ipv4/{name}', 'w') as file:
            file.write(value)
    # What goes to the background stays ours.
    import ctypes
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    conf, plain = f'{WORK}/estate.conf', f'{WORK}/estate.inetd'
    inetutils = f'{WORK}/peers/inetutils-inetd/usr/sbin/inetutils-inetd'
    servers = {'xinetd': (['xinetd', '-dontfork', '-f', conf, '-pidfile', f'{WORK}/estate.pid', '-filelog', f'{WORK}/estate.log'],
                          conf, xinetd_conf, True, False)}
    if os.path.exists(inetutils):
        servers['inetutils-inetd'] = ([inetutils, '-R', '100000000', f'-p{WORK}/estate.pid', plain], plain, inetd_conf, True, True)
    if len(words) > 3:
        servers['new'] = ([words[3], 'run', '-dontfork', '-f', conf, '-filelog', f'{WORK}/estate.log'], conf, xinetd_conf, True, False)
    if '--only' in options:
        servers = {name: server for name, server in servers.items() if name in options['--only']}
    rows = []
    for count in map(int, options.get('--services', ['10', '1000', '10000'])):
        todo = dict(servers)
        if os.path.exists(f'{WORK}/bin/spawnlim') and '--only' not in options:
            todo['lim-clone3'] = ([f'{WORK}/bin/spawnlim', str(PORT), 'clone3', OK, str(count), '0'], conf, xinetd_conf, False, False)
        for rep in range(reps):
            names = list(todo)
            for name in names[rep % len(names):] + names[:rep % len(names)]:
                command, path, write_conf, reloads, background = todo[name]
                rows.append(dict(measure(command, path, write_conf, count, reloads, background), server=name, cell=str(count), rep=rep))
        for name in todo:
            own = [row for row in rows if row['server'] == name and row['cell'] == str(count)]
            middle = {key: round(statistics.median(row[key] for row in own), 2) for key in own[0] if key not in ('server', 'cell', 'rep')}
            print(f'{count:6} {name:16}', ' '.join(f'{key} {value}' for key, value in middle.items()), file=sys.stderr)
    with open(result, 'w') as file:
        json.dump(rows, file, indent=0)


if __name__ == '__main__':
    main()
