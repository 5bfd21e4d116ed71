#!/usr/bin/env python3
"""load.py RESULT WORK KIND [GATE]: what reloads and floods cost clients, with xinetd and with portreeve. KIND: reload, flood.

Runs in network, mount and process namespaces of its own (scripts/bench makes them). Counts, not times: how many of the
clients that came meanwhile were served.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

SERVICES, RELOADS, HONEST = 1000, 200, 100


def entry(number, turn, cps):
    flip = ('instances = 5000', 'instances = UNLIMITED')[turn % 2]
    return (f'service s{number}\n{{\n\ttype = UNLISTED\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\tuser = root\n'
            f'\tport = {20000 + number}\n\tserver = /bin/echo\n\tserver_args = served\n\tcps = {cps}\n\t{flip}\n}}\n')


def write(path, services, turn, cps):
    with open(path + '.new', 'w') as file:
        file.write('defaults\n{\n\tlog_type = FILE /dev/null\n}\n' + ''.join(entry(n, turn, cps) for n in range(services)))
    os.rename(path + '.new', path)


def client(source, port, patience=10):
    """served, refused (a closed port), reset, nothing (closed without a word) or late."""
    try:
        with socket.socket() as s:
            s.settimeout(patience)
            s.bind((source, 0))
            s.connect(('127.0.0.1', port))
            got = b''
            while part := s.recv(64):
                got += part
            return 'served' if got == b'served\n' else 'nothing'
    except ConnectionRefusedError:
        return 'refused'
    except ConnectionResetError:
        return 'reset'
    except (TimeoutError, OSError):
        return 'late'


def start(command, port):
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1000):
        if client('127.0.0.1', port) == 'served':
            return server
        time.sleep(0.02)
    raise SystemExit(f'{command} does not serve')


def reload(command, conf):
    write(conf, SERVICES, 0, '0 0')
    server = start(command, 20000 + SERVICES - 1)
    over, fared = threading.Event(), [{} for _ in range(4)]

    def clients(number):
        port = number * SERVICES // 4
        while not over.is_set():
            how = client(f'127.0.1.{number + 1}', 20000 + port)
            fared[number][how] = fared[number].get(how, 0) + 1
            port = (port + 1) % SERVICES

    threads = [threading.Thread(target=clients, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(1, RELOADS + 1):
        write(conf, SERVICES, turn, '0 0')
        server.send_signal(signal.SIGHUP)
        time.sleep(0.25)
    over.set()
    for thread in threads:
        thread.join()
    return server, {how: sum(f.get(how, 0) for f in fared) for how in ('served', 'refused', 'reset', 'nothing', 'late')}


def flood(command, conf, sources, then):
    write(conf, 1, 0, '50 10')
    server = start(command, 20000)
    over, attempts = threading.Event(), [0] * 2

    def flooder(number):
        kept, n = [], number
        while not over.is_set():
            s = socket.socket()
            s.settimeout(0.02)
            if then == 'reset':
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
            try:
                at = n % sources
                s.bind((f'127.64.{at // 250}.{at % 250 + 1}', 0))
                s.connect(('127.0.0.1', 20000))
            except OSError:
                pass
            s.close()
            attempts[number] += 1
            n += 2 if sources > 1 else 0
    threads = [threading.Thread(target=flooder, args=(n,)) for n in range(2 if sources > 1 else 1)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    fared, running = {}, []

    def honest(number):
        how = client(f'127.0.{3 + number // 250}.{number % 250 + 1}', 20000, 20)
        fared[how] = fared.get(how, 0) + 1
    for number in range(HONEST):
        running.append(threading.Thread(target=honest, args=(number,)))
        running[-1].start()
        time.sleep(0.05)
    over.set()
    for thread in threads:
        thread.join()
    ended = time.monotonic()
    while client('127.0.9.9', 20000, 1) != 'served' and time.monotonic() - ended < 60:
        time.sleep(0.1)
    healed = time.monotonic() - ended
    for thread in running:
        thread.join()
    return server, dict({how: fared.get(how, 0) for how in ('served', 'refused', 'reset', 'nothing', 'late')},
                        attempts=sum(attempts), healed=round(healed, 1))


def main():
    result, work, kind = sys.argv[1:4]
    conf = os.path.join(work, 'load.conf')
    servers = {'xinetd': ['xinetd', '-dontfork', '-f', conf]}
    if len(sys.argv) > 4:
        servers['new'] = [sys.argv[4], 'run', '-dontfork', '-f', conf]
    cells = {'reload': [('reload', reload, ())],
             'flood': [(f'{n:,} sources, {then}', flood, (n, then))
                       for n, then in ((1, 'reset'), (10, 'reset'), (10000, 'reset'), (10000, 'close'))]}
    rows = []
    for cell, measure, more in cells[kind]:
        for name, command in servers.items():
            server, row = measure(command, conf, *more)
            rows.append(dict(row, server=name, cell=cell, rep=0))
            print(rows[-1], file=sys.stderr)
            server.send_signal(signal.SIGTERM)
            server.wait()
    with open(result, 'w') as file:
        json.dump(rows, file, indent=0)


main()
