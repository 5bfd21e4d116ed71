#!/usr/bin/env python3
"""Drawn configurations, served by xinetd and by ours: what is accepted, the log, the dump, what clients see, and whom FAIL lines name
must be the same.

  configuration-differential.py OURS SEED CASES [--reload] [--show N] [--only CASE]

OURS is an executable of ours; it is called by the name xinetd. Runs as root, in network and mount namespaces of its own: /run is
empty there, and names are those of files. The number of a case gives the same case everywhere. With --reload each configuration is edited
while it is served, and both are told to read it again. What docs/guide/differences.md names is not drawn (drawn_configurations.py), taken
out of both sides (RULES), or counted as explained by its row (`known`).
"""
import difflib, os, re, shutil, signal, socket, subprocess, sys, time

sys.dont_write_bytecode = True
from drawn_configurations import ROOM, Draw, mutated

XINETD = "/usr/sbin/xinetd"
LINE = re.compile(r"^\S+ \S+?\[\d+\]: (.*)$")
CRITICAL = re.compile(r"^CRITICAL: \d+ ")

# What docs/guide/differences.md names, taken out of both sides: (row, pattern, replacement).
RULES = [
    ("program-name-in-logs", r"^NOTICE: \S+ started with .*", ""),
    ("the-dump-is-private", r"^INFO: generated state dump in file .*", ""),
    ("failed-binds-are-retried", r"^NOTICE: bind retry attempt \d+$", ""),
    ("failed-binds-are-retried", r"^ERROR: bind failed .*", ""),
    ("include-messages-name-the-line", r"^(DEBUG: Reading included configuration file: \S+) .*", r"\1"),
    ("failed-binds-are-retried", r"^ERROR: Service \S+ failed to start and is deactivated\.$", ""),
    ("banners-are-told-once-a-second", r"^ERROR: service = \S+, open of banner \S+ failed$", ""),
    ("redirect-says-nothing-of-v6only", r"^ERROR: Setting IPV6_V6ONLY option failed .*", ""),
    ("banners-are-told-once-a-second", r"^ERROR: service \S+, Error .* reading banner .*", ""),
    ("umask-message-in-one-line", r"^(ERROR: umask argument is invalid\.).*", r"\1"),
    ("diagnostics of ours", r"^(WARNING|ERROR|NOTICE): .*`.*", ""),
    ("diagnostics of ours", r"^DEBUG: Started service: .*", ""),
    ("diagnostics of ours", r"^NOTICE: 0\.1\.0 started as .*", ""),
]

# Lines of the dump that are not compared: values of the environment (the-dump-is-private), what xinetd leaves out where `defaults` set it
# (the-dump-shows-what-holds), and what hangs on the moment.
LEFT_OUT = [r"\t\t(CPS|Libwrap|Environment|Instances = |\t)", r"\t(Environment strings|\t[A-Z]+=)",
            r"\t(service fd|running servers|retry servers|attempts) = "]
# The same in another form (the-dump-shows-what-holds).
SHOWN_OTHERWISE = [(r" [^ ]*\((NET|NUMERIC)\)", " A"), (r"Logging to common log file", "Logging to file: "),
                   (r"(Bind = |Redirect = |Logging to file: ).*", r"\1"), (r"No sites", "All sites")]

SOURCES = ["127.0.0.1", "127.0.0.2", "10.1.2.3", "192.200.0.10", "::1"]


def visit(source, port):
    """What a client from there sees: nothing to connect to, or the bytes."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        try:
            client.bind((source, 0))
            client.connect(("::1" if ":" in source else "127.0.0.1", port))
        except OSError as error:
            return type(error).__name__
        got = b""
        try:
            # Nothing is sent: what is not read would make an end of a reset.
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while part := client.recv(4096):
                got += part
        except OSError as error:
            got += type(error).__name__.encode()
        return re.sub(r"\d+", "N", got.decode("latin-1"))


def write(files):
    for path, text in files.items():
        whole = f"{ROOM}/{path}"
        if text is None:
            os.makedirs(whole, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(whole), exist_ok=True)
        open(whole, "w").write(text)


def run(program, files, edited):
    """The log's lines, the dump's, whether it runs, what clients see, and whom the service's log refuses."""
    shutil.rmtree(ROOM, ignore_errors=True)
    os.makedirs(f"{ROOM}/log")
    open(f"{ROOM}/banner", "w").write("banner\n")
    write(files)
    for dump in ("/run/xinetd.dump", "/run/portreeve/portreeve.dump"):
        if os.path.exists(dump):
            os.unlink(dump)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
    child = subprocess.Popen(["xinetd", "-dontfork", "-stayalive", "-filelog", f"{ROOM}/daemon.log", "-f", f"{ROOM}/conf"],
                             executable=program, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
    read = lambda: open(f"{ROOM}/daemon.log", errors="replace").read() if os.path.exists(f"{ROOM}/daemon.log") else ""

    def until(what, seconds=10):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if what() or child.poll() is not None:
                return True
            time.sleep(0.005)
        return False

    until(lambda: "Started working" in read())
    where = lambda: next((p for p in ("/run/xinetd.dump", "/run/portreeve/portreeve.dump") if os.path.exists(p)), None)

    def state():
        if where():
            os.unlink(where())
        if child.poll() is None:
            child.send_signal(signal.SIGUSR1)
            until(lambda: where() and "END OF DUMP" in open(where(), errors="replace").read())
        return open(where(), errors="replace").read() if where() else ""

    seen = {}

    def look(files):
        text = "\n".join(t for t in files.values() if t)
        for port in sorted(set(map(int, re.findall(r"port = (\d+)", text)))):
            for source in SOURCES if port < 65536 else []:
                seen[f"{len(seen)}: {source} to {port}"] = visit(source, port)
        time.sleep(0.02)

    dump = state()
    if child.poll() is None:
        look(files)
    if edited and child.poll() is None:
        write(edited)
        child.send_signal(signal.SIGHUP)
        until(lambda: "Reconfigured: " in read() or "reconfiguration failed" in read())
        dump += state()
        if child.poll() is None:
            look(edited)
    status = child.poll()
    if status is None:
        child.send_signal(signal.SIGQUIT)
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    said = []
    for line in read().splitlines():
        found = LINE.match(line)
        said.append(CRITICAL.sub("CRITICAL: N ", found.group(1) if found else line))
    refused = []
    for name in os.listdir(f"{ROOM}/log"):
        for line in open(f"{ROOM}/log/{name}", errors="replace"):
            refused += re.findall(r"FAIL: .*", line)
    return said, dump, "ended" if status is not None else "runs", seen, sorted(refused)


def known(files, log):
    """The row that explains what such a case may differ in; none for most."""
    text = "\n".join(t for t in files.values() if t)
    if "DISABLING SERVICE" in "\n".join(log) and (re.search(r"disable = (no|NO)", text) or re.search(r"\tenabled ", text)):
        return "disable-no-never-revives"
    if "::1" in re.findall(r"bind = (\S+)", text) and re.search(r"(?i)flags = .*ipv4", text):
        return "bind-fits-its-family"
    if "pmap_set" in "\n".join(log):
        return "rpc-waits-for-nobody"
    if "Segmentation fault" in "\n".join(log):
        return "flags-in-any-position"
    if "Only tcp sockets" in "\n".join(log):
        return "redirect-of-datagrams"
    if re.search(r"type = .*TCPMUX", text) or re.search(r"redirect = [^}]*type = [^\n]*INTERNAL|type = [^\n]*INTERNAL[^}]*redirect = ", text):
        return "the-dump-shows-what-holds"
    if "redirect = " in text and "banner_success = " in text:
        return "redirect-banner-after-connect"
    if any("IDONLY" in entry and "USERID" in entry and "log_type" not in entry for entry in text.split("}")):
        return "idonly-needs-no-log"
    return None


def known_after(files, log, ours):
    """The same of what follows a reload."""
    if re.search("its new entry is wrong; it goes on as it was|reconfiguration failed", "\n".join(ours)):
        return "a-broken-entry-keeps-the-old-service"
    return known(files, log)


def plain_log(lines):
    kept = []
    for line in lines:
        if re.match(r"^ \[file=", line):
            continue
        for _, pattern, to in RULES:
            line = re.sub(pattern, to, line)
        if line and not line.startswith(("INFO: ", "NOTICE: Exiting", "Exiting")):
            kept.append(line)
    return kept


def plain_dump(text):
    kept = []
    for part in text.split("Services + defaults:")[1:]:
        for line in part.split("Server table dump:")[0].splitlines():
            if not line.strip() or any(re.match(pattern, line) for pattern in LEFT_OUT):
                continue
            for pattern, to in SHOWN_OTHERWISE:
                line = re.sub(pattern, to, line)
            kept.append(line.rstrip())
    return kept


def main():
    if len(sys.argv) < 4:
        print(__doc__)
        sys.exit(2)
    if os.environ.get("DRAWN_ROOM") != "1":
        databases = "hosts networks passwd group services protocols".split()
        room = ["mount -t tmpfs tmpfs /run", "ip link set lo up"]
        room += [f"ip address add {source}/32 dev lo" for source in SOURCES if not source.startswith(("127.", ":"))]
        room += [f"echo '{database}: files' >>/run/nsswitch" for database in databases]
        room += ["mount --bind /run/nsswitch /etc/nsswitch.conf", "exec \"$0\" \"$@\""]
        again = ["unshare", "-m", "-n", "sh", "-c", " && ".join(room), sys.executable, *sys.argv]
        os.execvpe("unshare", again, {**os.environ, "DRAWN_ROOM": "1"})
    ours, seed, count = sys.argv[1:4]
    option = lambda name, value: int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else value
    show, only = option("--show", 20), option("--only", -1)
    differ, explained = 0, {}
    for case in [only] if only >= 0 else range(int(count)):
        files = Draw(seed, case).make()
        edited = mutated(files, seed, case) if "--reload" in sys.argv else None
        a, b = run(XINETD, files, edited), run(ours, files, edited)
        log = (plain_log(a[0]), plain_log(b[0]))
        dump = (plain_dump(a[1]), plain_dump(b[1]))
        if only >= 0:
            for path, text in [*files.items(), *(("edited " + p, t) for p, t in (edited or {}).items() if t != files.get(p))]:
                print(f"--- {path}\n{text}")
        lines = lambda seen: [f"{who}: {what!r}" for who, what in seen.items()]
        seen = (lines(a[3]), lines(b[3]))
        refused = (a[4], b[4])
        if log[0] != log[1] or dump[0] != dump[1] or a[2] != b[2] or seen[0] != seen[1] or refused[0] != refused[1]:
            row = known(files, a[0]) or (edited and known_after(edited, a[0], b[0]))
            if row and only < 0:
                explained[row] = explained.get(row, 0) + 1
                continue
            differ += 1
            if differ <= show:
                print(f"== case {case}: {a[2]} / {b[2]}")
                for one, two in (log, dump, seen, refused):
                    for line in difflib.unified_diff(one, two, "xinetd", "ours", lineterm="", n=0):
                        print("   " + line)
    print(explained)
    print(f"{1 if only >= 0 else count} cases, {differ} differ")
    sys.exit(1 if differ else 0)


main()
