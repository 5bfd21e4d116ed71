#!/usr/bin/env python3
"""TLS in front of a plain server: portreeve beside nginx, haproxy and stunnel, each with one thread. Handshakes (TLS 1.3, P-256, no
resumption) and bulk, and above all the processor time that each takes of the server and its workers, which a busy machine changes least.

  unshare -n sh -c 'ip link set lo up; python3 benches/tls.py DIRECTORY_OF_PORTREEVE WORK REPETITIONS'

WORK is that of scripts/bench (echod and the unpacked peers). Prints a table for benches/README.md."""
import os, socket, ssl, statistics, subprocess, sys, time

GATE, WORK, REPS = os.path.join(sys.argv[1], 'portreeve-gate'), sys.argv[2], int(sys.argv[3])
HERE = WORK + '/tls'
PORT, BACK = 21000, 22000
SECONDS, BULK = 1.5, 200 << 20
os.makedirs(HERE, exist_ok=True)


def write(name, text):
    with open(f'{HERE}/{name}', 'w') as file:
        file.write(text)
    return f'{HERE}/{name}'


def servers():
    peers = WORK + '/peers'
    run = lambda *words: subprocess.run(words, check=True, capture_output=True)
    run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', f'{HERE}/key.pem',
        '-out', f'{HERE}/cert.pem', '-subj', '/CN=localhost', '-days', '30')
    with open(f'{HERE}/key.pem') as key, open(f'{HERE}/cert.pem') as cert:
        write('both.pem', key.read() + cert.read())
    ours = write('portreeve.conf', f'service tls\n{{\n type = UNLISTED\n port = {PORT}\n socket_type = stream\n protocol = tcp\n wait = no\n'
                 f' user = root\n flags = NOLIBWRAP\n cps = 10000000 1\n instances = UNLIMITED\n redirect = 127.0.0.1 {BACK}\n'
                 f' tls_cert = {HERE}/cert.pem\n tls_key = {HERE}/key.pem\n}}\n')
    module = f'{peers}/libnginx-mod-stream/usr/lib/nginx/modules/ngx_stream_module.so'
    nginx = write('nginx.conf', f'daemon off; master_process off; worker_processes 1; error_log /dev/null; pid {HERE}/nginx.pid;\n'
                  f'load_module {module};\nevents {{ worker_connections 4000; }}\nstream {{ server {{ listen 0.0.0.0:{PORT} ssl backlog=4096; '
                  f'ssl_certificate {HERE}/cert.pem; ssl_certificate_key {HERE}/key.pem; ssl_protocols TLSv1.3; ssl_session_cache off; '
                  f'ssl_session_tickets off; proxy_pass 127.0.0.1:{BACK}; }} }}\n')
    haproxy = write('haproxy.cfg', 'global\n maxconn 4000\n nbthread 1\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n'
                    f' timeout server 60s\nfrontend f\n bind 0.0.0.0:{PORT} ssl crt {HERE}/both.pem no-tls-tickets\n default_backend b\n'
                    f'backend b\n server s 127.0.0.1:{BACK}\n')
    stunnel = write('stunnel.conf', f'foreground = yes\npid =\ndebug = 0\n[t]\naccept = 0.0.0.0:{PORT}\nconnect = 127.0.0.1:{BACK}\n'
                    f'cert = {HERE}/cert.pem\nkey = {HERE}/key.pem\n')
    return {'**portreeve**': [GATE, 'run', '-dontfork', '-f', ours, '-filelog', f'{HERE}/log', '-pidfile', f'{HERE}/pid'],
            'nginx': [f'{peers}/nginx/usr/sbin/nginx', '-e', '/dev/null', '-p', HERE, '-c', nginx],
            'haproxy': [f'{peers}/haproxy/usr/sbin/haproxy', '-db', '-f', haproxy], 'stunnel': ['/usr/bin/stunnel4', stunnel]}


def tree(pid):
    found = [pid]
    for one in found:
        for task in os.listdir(f'/proc/{one}/task'):
            try:
                with open(f'/proc/{one}/task/{task}/children') as file:
                    found += map(int, file.read().split())
            except OSError:
                pass  # a thread that has ended
    return found


def cpu(pid):
    """Seconds that the server and its workers have run, threads that are gone included."""
    ticks = 0
    for one in tree(pid):
        with open(f'/proc/{one}/stat') as file:
            ticks += sum(map(int, file.read().rsplit(')', 1)[1].split()[11:13]))
    return ticks / os.sysconf('SC_CLK_TCK')


CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE
CONTEXT.minimum_version = ssl.TLSVersion.TLSv1_3


def dial():
    return CONTEXT.wrap_socket(socket.create_connection(('127.0.0.1', PORT), 20))


def measure(command):
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              preexec_fn=lambda: os.sched_setaffinity(0, {0}))
    try:
        for _ in range(200):
            try:
                dial().close()
                break
            except OSError:
                time.sleep(0.05)
        begun, before, count = time.monotonic(), cpu(server.pid), 0
        while time.monotonic() < begun + SECONDS:
            with dial() as client:
                client.sendall((4).to_bytes(8, 'little'))  # the whole way: four bytes of the target come back
                assert client.recv(4)
            count += 1
        took, used = time.monotonic() - begun, cpu(server.pid) - before
        with dial() as client:
            begun, before, left = time.monotonic(), cpu(server.pid), BULK
            client.sendall(BULK.to_bytes(8, 'little'))
            buffer = bytearray(1 << 18)
            while left and (got := client.recv_into(buffer)):
                left -= got
            assert not left, 'all of it'
        bulk_took = time.monotonic() - begun
        return count / took, used / count * 1e6, BULK / bulk_took / 1e9, (cpu(server.pid) - before) / BULK * 1e12
    finally:
        server.terminate()
        server.wait()


def main():
    os.sched_setaffinity(0, {1})
    target = subprocess.Popen([WORK + '/bin/echod', str(BACK), 'source'])
    commands, rows = servers(), {}
    try:
        for rep in range(REPS):
            names = list(commands)
            for name in names[rep % len(names):] + names[:rep % len(names)]:
                rows.setdefault(name, []).append(measure(commands[name]))
    finally:
        target.kill()
    print('| server | connections per second | CPU µs a connection | bulk GB/s | CPU ms a GB |\n|---|---|---|---|---|')
    for name in commands:
        rate, each, speed, bulk = (statistics.median(column) for column in zip(*rows[name]))
        print(f'| {name} | {rate:,.0f} | {each:,.0f} | {speed:.2f} | {bulk:,.0f} |')


main()
