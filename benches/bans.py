#!/usr/bin/env python3
"""bans.py RESULT WORK REPS [GATE PORTREEVE ENFORCE]: how fast a ban is in the kernel, one and a hundred thousand, and what they cost.

Runs in network, mount and process namespaces of its own (scripts/bench makes them), with a neighbour behind a veth. Beside portreeve:
nft(8), as fail2ban's actions call it: one process for one element, and one file for all.
"""
import ctypes
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

MANY, HITS = 100_000, 200
HERE = '10.7.0.1'
LIBC = ctypes.CDLL(None, use_errno=True)


def run(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout


class Neighbour:
    """A process in another network namespace; what is to be done there is done by its children."""

    def __init__(self):
        self.held = subprocess.Popen(['unshare', '-n', 'sleep', 'infinity'])
        own = os.readlink('/proc/self/ns/net')
        while os.readlink(f'/proc/{self.held.pid}/ns/net') == own:
            time.sleep(0.01)
        run('ip', 'link', 'add', 'here', 'type', 'veth', 'peer', 'name', 'there', 'netns', str(self.held.pid))
        run('ip', 'addr', 'add', HERE + '/16', 'dev', 'here')
        run('ip', 'link', 'set', 'here', 'up')
        self.inside('ip', 'link', 'set', 'there', 'up')
        self.inside('ip', 'addr', 'add', '10.7.0.2/16', 'dev', 'there')
        self.inside('ip', 'route', 'add', 'local', '10.7.128.0/17', 'dev', 'lo')
        # Addresses behind it answer by themselves.
        run('ip', 'route', 'add', '10.7.128.0/17', 'via', '10.7.0.2')

    def inside(self, *words):
        return run('nsenter', '-t', str(self.held.pid), '-n', *words)

    def enter(self):
        with open(f'/proc/{self.held.pid}/ns/net') as ns:
            if LIBC.setns(ns.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), 'setns')


def source(n):
    return f'10.7.{128 + n // 250}.{n % 250 + 1}'


def changes():
    """A socket that hears of changes of nf_tables."""
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
    s.bind((0, 1 << 6))
    return s


def hit(neighbour, port, numbers):
    """Connects from each address; when each connect began, by the monotonic clock."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        neighbour.enter()
        for n in numbers:
            s = socket.socket()
            s.settimeout(5)
            s.bind((source(n), 0))
            begun = time.monotonic_ns()
            s.connect((HERE, port))
            os.write(write, struct.pack('q', begun))
            time.sleep(0.02)
            s.close()
        os._exit(0)
    os.close(write)
    begun = []
    with os.fdopen(read, 'rb') as pipe:
        while part := pipe.read(8):
            begun.append(struct.unpack('q', part)[0])
    os.waitpid(child, 0)
    return begun


def quantiles(values):
    values = sorted(values)
    return {'p50': round(values[len(values) // 2], 3), 'p99': round(values[int(len(values) * 0.99)], 3), 'max': round(values[-1], 3)}


def ask(work, request):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(work, 'bans.control'))
        s.sendall(request.encode() + b'\n')
        answer = b''
        while part := s.recv(65536):
            answer += part
    return json.loads(answer)


def until(what, patience=120):
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        try:
            if what():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.002)
    raise SystemExit('it did not happen')


def enforced(work, count):
    def is_so():
        bans = ask(work, 'status')['bans']
        return bans.get('enforced') == count and bans.get('wanted') == count and not bans.get('on_their_way')
    until(is_so)


def cpu(pid):
    with open(f'/proc/{pid}/stat') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf('SC_CLK_TCK')


CONF = '''defaults
{
	log_type = FILE /dev/null
}
service trap
{
	type = INTERNAL UNLISTED
	id = trap
	socket_type = stream
	protocol = tcp
	wait = no
	port = 2001
	flags = SENSOR
	deny_time = 60
	cps = 0 0
}
service echo
{
	type = INTERNAL UNLISTED
	id = echo
	socket_type = stream
	protocol = tcp
	wait = no
	port = 2002
	cps = 0 0
}
'''


class Served(threading.Thread):
    """A client that is served again and again meanwhile: the longest that it waited, in ms."""

    def __init__(self):
        super().__init__()
        self.over, self.longest, self.count = threading.Event(), 0.0, 0

    def run(self):
        while not self.over.is_set():
            begun = time.monotonic()
            with socket.socket() as s:
                s.settimeout(20)
                s.connect(('127.0.0.1', 2002))
                s.sendall(b'x')
                s.recv(1)
            self.longest = max(self.longest, (time.monotonic() - begun) * 1000)
            self.count += 1
            time.sleep(0.002)


def ours(neighbour, work, gate, portreeve):
    conf, ledger = os.path.join(work, 'bans.conf'), os.path.join(work, 'bans.ledger')
    with open(conf, 'w') as file:
        file.write(CONF)
    subprocess.run(['rm', '-rf', ledger])
    command = [gate, 'run', '-dontfork', '-f', conf, '--control', os.path.join(work, 'bans.control'), '--ledger', ledger]

    def begin():
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: ask(work, 'status')['ok'] and ask(work, 'status')['ledger']['state'] == 'open')
        return server
    server = begin()
    row = {}

    def touches(first, count):
        listening, heard = changes(), {}
        wanted = {socket.inet_aton(source(n)): n for n in range(first, first + count)}
        network = socket.inet_aton(source(0))[:2]

        def listen():
            listening.settimeout(3)
            try:
                while len(heard) < count:
                    message = listening.recv(65536)
                    at, where = time.monotonic_ns(), message.find(network)
                    # Several in one, those of a list among them.
                    while where >= 0:
                        if (n := wanted.get(message[where:where + 4])) is not None:
                            heard.setdefault(n, at)
                        where = message.find(network, where + 1)
            except TimeoutError:
                pass
        listener = threading.Thread(target=listen)
        listener.start()
        begun = hit(neighbour, 2001, range(first, first + count))
        listener.join()
        return [(heard[n] - a) / 1e6 for n, a in enumerate(begun, first) if n in heard], len(heard)
    # The first one starts the worker, too.
    row['first_ms'] = round(touches(0, 1)[0][0], 3)
    before = cpu(server.pid)
    times, heard = touches(1, HITS)
    row.update({'one_' + k: v for k, v in quantiles(times).items()}, heard=heard, hit_cpu=round((cpu(server.pid) - before) / HITS, 3))
    ask(work, 'unban all')
    enforced(work, 0)
    with open(os.path.join(work, 'bans.list'), 'w') as file:
        file.writelines(f'{socket.inet_ntoa(struct.pack("!I", (100 << 24) + n * 3))} 86400 listed\n' for n in range(MANY))
    served, before, begun = Served(), cpu(server.pid), time.monotonic()
    served.start()
    run(portreeve, 'ban', 'import', os.path.join(work, 'bans.list'), '--control', os.path.join(work, 'bans.control'))
    row['import_answered'] = round(time.monotonic() - begun, 3)
    enforced(work, MANY)
    row['import_enforced'] = round(time.monotonic() - begun, 3)
    served.over.set()
    served.join()
    row.update(import_cpu=round(cpu(server.pid) - before), served=served.count, longest_ms=round(served.longest, 1))
    times, heard = touches(300, HITS)
    row.update({'beside_' + k: v for k, v in quantiles(times).items()})
    until(lambda: not ask(work, 'bans').get('not_kept'))
    time.sleep(2)
    server.send_signal(signal.SIGTERM)
    server.wait()
    begun = time.monotonic()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    enforced(work, MANY + HITS)
    row['restart_enforced'] = round(time.monotonic() - begun, 3)
    row['restart_cpu'] = round(cpu(server.pid))
    with open(os.path.join(work, 'bans.list')) as file:
        lines = file.read().rstrip()
    over, removed = threading.Event(), []

    def come_and_go():
        while not over.is_set():
            begun = time.monotonic()
            ask(work, 'unban all')
            removed.append(time.monotonic() - begun)
            ask(work, f'import {len(lines)}\n{lines}')
    lists, served = threading.Thread(target=come_and_go), Served()
    lists.start()
    served.start()
    times, heard = touches(600, HITS)
    over.set()
    lists.join()
    served.over.set()
    served.join()
    row.update({'meanwhile_' + k: v for k, v in quantiles(times).items()}, heard_meanwhile=heard, removed=round(max(removed), 3))
    row['longest_meanwhile_ms'] = round(served.longest, 1)
    server.send_signal(signal.SIGTERM)
    server.wait()
    run('nft', 'flush', 'ruleset')
    subprocess.run(['nft', 'delete', 'table', 'inet', 'portreeve'], stderr=subprocess.DEVNULL)
    return row


def theirs():
    """nft(8): one process a ban, and one file."""
    table = ('table inet f2b {\n set s { type ipv4_addr; flags timeout; }\n'
             ' chain c { type filter hook prerouting priority raw; ip saddr @s drop; }\n}\n')
    run('nft', '-f', '-', input=table)

    def one(n):
        begun = time.monotonic()
        run('nft', 'add', 'element', 'inet', 'f2b', 's', '{', source(n), 'timeout', '1h', '}')
        return (time.monotonic() - begun) * 1000
    row = {'one_' + k: v for k, v in quantiles([one(n) for n in range(HITS)]).items()}
    addresses = (socket.inet_ntoa(struct.pack('!I', (100 << 24) + n * 3)) for n in range(MANY))
    text = 'add element inet f2b s { ' + ', '.join(address + ' timeout 1d' for address in addresses) + ' }'
    begun = time.monotonic()
    run('nft', '-f', '-', input=text)
    row['import_enforced'] = round(time.monotonic() - begun, 3)
    row.update({'beside_' + k: v for k, v in quantiles([one(n) for n in range(HITS, 2 * HITS)]).items()})
    run('nft', 'flush', 'ruleset')
    return row


SENDER = r'''
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
int main(int n, char **a) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(9)};
  inet_pton(AF_INET, a[1], &from.sin_addr); inet_pton(AF_INET, a[2], &to.sin_addr);
  if (bind(fd, (void *)&from, sizeof from) || connect(fd, (void *)&to, sizeof to)) return 1;
  long count = atol(a[3]);
  struct iovec v = {"x", 1}; struct mmsghdr m[256]; memset(m, 0, sizeof m);
  for (int i = 0; i < 256; i++) { m[i].msg_hdr.msg_iov = &v; m[i].msg_hdr.msg_iovlen = 1; }
  struct timespec s, e; clock_gettime(CLOCK_MONOTONIC, &s);
  for (long i = 0; i < count; i += 256) if (sendmmsg(fd, m, 256, 0) < 0) i -= 256;
  clock_gettime(CLOCK_MONOTONIC, &e);
  printf("%.1f\n", ((e.tv_sec - s.tv_sec) * 1e9 + (e.tv_nsec - s.tv_nsec)) / count);
}'''


def packets(neighbour, work, enforce):
    """ns for one datagram from the neighbour: sent, and taken by this host or dropped, on one CPU."""
    sender = os.path.join(work, 'sender')
    subprocess.run(['cc', '-O2', '-xc', '-', '-o', sender], input=SENDER, text=True, check=True)
    # Taken and thrown away, so that no ICMP answers.
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind((HERE, 9))
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)

    def cost(address):
        return float(neighbour.inside('taskset', '-c', '1', sender, address, HERE, '400000'))
    row = {'none': cost(source(5))}
    for name, count in (('empty', 0), ('many', MANY)):
        held = subprocess.Popen([enforce, 'hold', str(count), source(6)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        row.update({name + '_' + k: v for k, v in json.loads(held.stdout.readline()).items()})
        row[name] = cost(source(5))
        row[name + '_dropped'] = cost(source(6))
        held.stdin.close()
        held.wait()
        subprocess.run(['nft', 'delete', 'table', 'inet', 'portreeve'], stderr=subprocess.DEVNULL)
    return row


def repairs(enforce):
    """ms until what others do to a table without an owner is undone."""
    row = json.loads(run('timeout', '300', enforce, 'repair', str(MANY)))
    subprocess.run(['nft', 'delete', 'table', 'inet', 'portreeve'], stderr=subprocess.DEVNULL)
    return row


def main():
    result, work, reps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    neighbour = Neighbour()
    rows = []
    for rep in range(reps):
        rows.append(dict(theirs(), server='nft', cell='bans', rep=rep))
        print(rows[-1], file=sys.stderr)
        if len(sys.argv) > 4:
            gate, portreeve, enforce = sys.argv[4:7]
            rows.append(dict(ours(neighbour, work, gate, portreeve), server='new', cell='bans', rep=rep))
            print(rows[-1], file=sys.stderr)
            rows.append(dict(packets(neighbour, work, enforce), server='new', cell='packets', rep=rep))
            print(rows[-1], file=sys.stderr)
            rows.append(dict(repairs(enforce), server='new', cell='repair', rep=rep))
            print(rows[-1], file=sys.stderr)
    neighbour.held.kill()
    with open(result, 'w') as file:
        json.dump(rows, file, indent=0)


main()
