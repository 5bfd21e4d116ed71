#!/usr/bin/env python3
"""fail2ban.py WORK GATE PORTREEVE [BANS]: bans by fail2ban (nftables action, as Debian has it) and by ours, in turn: how long until the kernel
has BANS of them (2,000), until it has them again after a restart, and after `nft flush ruleset`. Prints a table for benches/README.md.

Runs in network and mount namespaces of its own (scripts/bench makes them, /run is empty there). It counts what the kernel's sets hold,
and believes neither side's own word.
"""
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

work, gate, portreeve = sys.argv[1:4]
BANS = int(sys.argv[4]) if len(sys.argv) > 4 else 2000
PATIENCE = 600
RUN = '/run/fail2ban-bench'
SOCKET = RUN + '/socket'
CLIENT = ['fail2ban-client', '-c', RUN, '-s', SOCKET, '-p', RUN + '/pid']
ADDRESSES = [socket.inet_ntoa(struct.pack('!I', (100 << 24) + n * 3 + 1)) for n in range(BANS)]


def run(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout


def held():
    """How many addresses the sets of all tables hold."""
    said = json.loads(run('nft', '-j', 'list', 'ruleset'))
    return sum(len(one['set'].get('elem', [])) for one in said['nftables'] if 'set' in one and one['set']['type'] == 'ipv4_addr')


def until(count, patience=PATIENCE):
    """Seconds until the kernel holds so many; None where it does not come to that."""
    begun = time.monotonic()
    while held() < count:
        if time.monotonic() - begun > patience:
            return None
        time.sleep(0.02)
    return time.monotonic() - begun


def since(begun, waited):
    return None if waited is None else time.monotonic() - begun


def measured(ban, restart):
    """(all in force, again after a restart, again after a flush), in seconds."""
    begun = time.monotonic()
    ban()
    first = since(begun, until(BANS))
    begun = time.monotonic()
    restart()
    second = since(begun, until(BANS))
    begun = time.monotonic()
    run('nft', 'flush', 'ruleset')
    # Ours may have repaired it before the count begins, so a whole table counts only once it is whole again.
    third = since(begun, until(BANS, 30))
    return first, second, third


def fail2ban():
    shutil.rmtree(RUN, ignore_errors=True)
    shutil.copytree('/etc/fail2ban', RUN)
    for more in ('jail.d', 'fail2ban.d'):
        shutil.rmtree(os.path.join(RUN, more), ignore_errors=True)
    with open(RUN + '/fail2ban.local', 'w') as file:
        file.write(f'[Definition]\nlogtarget = {RUN}/log\nsocket = {SOCKET}\npidfile = {RUN}/pid\ndbfile = {RUN}/db\n')
    with open(RUN + '/filter.d/trap.conf', 'w') as file:
        file.write('[Definition]\nfailregex = ^trap <HOST>$\n')
    with open(RUN + '/jail.local', 'w') as file:
        file.write(f'[trap]\nenabled = true\nfilter = trap\nlogpath = {RUN}/traps\nbackend = polling\nmaxretry = 1\nbantime = 1d\n'
                   'ignoreself = false\nbanaction = nftables-allports\nport = 0:65535\n')
    open(RUN + '/traps', 'w').close()

    def begin():
        run(*CLIENT, 'start')
        while b'pong' not in subprocess.run([*CLIENT, 'ping'], capture_output=True).stdout:
            time.sleep(0.02)

    def ban():
        for first in range(0, BANS, 500):
            run(*CLIENT, 'set', 'trap', 'banip', *ADDRESSES[first:first + 500])

    def restart():
        run(*CLIENT, 'stop')
        begin()
    begin()
    try:
        return measured(ban, restart)
    finally:
        run(*CLIENT, 'stop')
        subprocess.run(['nft', 'flush', 'ruleset'])


def ours():
    place = os.path.join(work, 'beside-fail2ban')
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    conf, control, addresses = (os.path.join(place, name) for name in ('conf', 'control', 'addresses'))
    with open(conf, 'w') as file:
        file.write('service echo\n{\n type = INTERNAL UNLISTED\n id = echo\n socket_type = stream\n protocol = tcp\n wait = no\n port = 2002\n}\n')
    with open(addresses, 'w') as file:
        file.writelines(f'{address} 86400 listed\n' for address in ADDRESSES)
    command = [gate, 'run', '-dontfork', '-f', conf, '--control', control, '--ledger', os.path.join(place, 'ledger')]
    server = None

    def begin():
        nonlocal server
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while subprocess.run([portreeve, 'status', '--control', control], capture_output=True).returncode:
            time.sleep(0.02)

    def restart():
        server.terminate()
        server.wait()
        begin()
    begin()
    try:
        return measured(lambda: run(portreeve, 'ban', 'import', addresses, '--control', control), restart)
    finally:
        server.terminate()
        server.wait()
        subprocess.run(['nft', 'delete', 'table', 'inet', 'portreeve'], capture_output=True)


def shown(seconds):
    return 'not within 30 s' if seconds is None else f'{seconds:.2f}'


def main():
    rows = [(f'fail2ban {run("fail2ban-server", "--version").split()[-1]}', fail2ban()), ('portreeve', ours())]
    print(f'| {BANS:,} bans | in the kernel, s | again after a restart, s | again after `nft flush ruleset`, s |\n|---|---|---|---|')
    for name, figures in rows:
        print(f'| {name} | ' + ' | '.join(shown(figure) for figure in figures) + ' |')


main()
