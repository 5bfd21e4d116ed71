#!/usr/bin/env python3
"""hosts_memory.py GATE: what the supervisor takes with a long hosts.deny, as rows of a table.

Runs in namespaces of its own, because it replaces /etc, /run and /var/cache:
  unshare -n -m -p -f --kill-child sh -c 'mount -t proc proc /proc && ip link set lo up && exec python3 benches/hosts_memory.py "$@"' _ dist/portreeve-gate
"""
import os
import socket
import subprocess
import sys
import time

from hosts import write_tables

SERVICE = '''service s1
{
    type = UNLISTED
    port = 2001
    socket_type = stream
    protocol = tcp
    wait = no
    user = root
    server = /bin/true
    flags = IPv4
}
'''


def own_directories():
    kept = {name: open(f'/etc/{name}', 'rb').read() for name in ('passwd', 'group', 'nsswitch.conf', 'services', 'protocols')}
    for place in ('/etc', '/run', '/var/cache'):
        subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', place], check=True)
    for name, content in kept.items():
        open(f'/etc/{name}', 'wb').write(content)
    open('/run/x.conf', 'w').write(SERVICE)


def kib(pid):
    """PSS now, and the most that was resident."""
    fields = dict(line.split(':', 1) for path in ('smaps_rollup', 'status') for line in open(f'/proc/{pid}/{path}') if ':' in line)
    return int(fields['Pss'].split()[0]), int(fields['VmHWM'].split()[0])


def measure(gate, size, kind):
    write_tables(size, kind)
    time.sleep(2.3)  # older than what may still change unseen
    server = subprocess.Popen([gate, 'run', '-dontfork', '-f', '/run/x.conf'], stderr=subprocess.DEVNULL)
    time.sleep(6)
    client = socket.create_connection(('127.0.0.1', 2001), timeout=5)
    client.recv(1)
    time.sleep(0.2)
    taken = kib(server.pid)
    server.terminate()
    server.wait()
    return taken


def main():
    own_directories()
    for kind in ('addresses', 'nets'):
        empty = measure(sys.argv[1], 0, kind)
        for size in (100000, 1000000):
            now, most = measure(sys.argv[1], size, kind)
            each = [(value - without) * 1024 / size for value, without in zip((now, most), empty)]
            print(f'| {size:,} | {kind} | {now:,} | {each[0]:.1f} | {each[1]:.1f} |')


main()
