"""Configurations as people might write them, and odder: drawn by a seed and a number, the same everywhere; and edited afterwards.

Draws nothing that docs/guide/differences.md says is read differently, as far as that can be told in advance.
"""
import random
import re

# Where the files are.
ROOM = "/run/drawn"


class Draw:
    """One configuration."""

    def __init__(self, seed, case):
        self.r = random.Random(f"{seed}/{case}")
        self.files = {}
        self.port = 20000
        self.pool = []

    def some(self, odds):
        return self.r.random() < odds

    def pick(self, *words):
        return self.r.choice(words)

    def yes(self):
        return self.pick("yes", "no", "YES", "No", "maybe" if self.some(0.1) else "yes")

    def number(self, odd=0.15):
        if self.some(odd):
            return self.pick("x", "5x", "+7", "007", "", "1 2", "0", "UNLIMITED", "unlimited", "4k", "1M", "0x10", "1G", "-0", "k")
        return str(self.pick(0, self.r.randint(20, 60), self.r.randint(20, 60), self.r.randint(20, 60)))

    def address(self):
        """One of those that were drawn before, as it was or nearly so, or another."""
        if self.pool and self.some(0.5):
            old = self.r.choice(self.pool)
            if self.some(0.3):
                old = re.sub(r"\d+(?=[./}]|$)", lambda m: self.pick(m.group(), m.group(), "0", "1"), old, count=self.r.randint(1, 4))
            return old
        new = self.another_address()
        self.pool.append(new)
        return new

    def another_address(self):
        r = self.r
        octet = lambda: str(r.choice([0, 1, 10, 127, 192, 200, 255, r.randint(0, 255)]))
        four = ".".join(octet() for _ in range(4))
        kind = r.randint(0, 15)
        if kind <= 3:
            return four
        if kind == 4:
            return ".".join([octet(), octet(), "0", "0"])
        if kind == 5:
            return f"{four}/{r.choice([0, 1, 8, 15, 16, 24, 31, 32, 33, 40])}"
        if kind == 6:
            braces = ",".join(octet() for _ in range(r.randint(1, 4)))
            return ".".join([octet() for _ in range(r.randint(0, 3))] + ["{" + braces + "}"])
        if kind == 7:
            return r.choice(["::1", "fe80::1", "2001:db8::", "2001:db8:1::5", "::ffff:10.1.2.3", "fd00::"])
        if kind == 8:
            return f"{r.choice(['2001:db8::', 'fe80::', '::', '::ffff:10.0.0.0', 'fd00:1::'])}/{r.choice([0, 1, 7, 10, 32, 48, 64, 104, 127])}"
        if kind == 9:
            return r.choice(["localhost", ".example.org", "nowhere.invalid", "loopback", "a_b", "-"])
        if kind == 10:
            return r.choice(["10.0.0.0/8/9", "10.0.0.256", "1.2.3.4,5.6.7.8", "{1,2", "10.{1,2}.3", "10.1.{}", "10.1.{300}", "{}", "10.1.{1,}", "10.1.{,1}", "2001:db8::/x", "10.0.0.0/", "10.0.0.0/x", "/8", "::g", "1.2.3.{4}5"])
        if kind == 11:
            return r.choice(["127.1", "10", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "10.1.0", "0", "0.0.0.0"])
        return four

    def words(self, make, low, high):
        return " ".join(make() for _ in range(self.r.randint(low, high)))

    def list_op(self):
        return self.pick("=", "+=", "+=", "-=", "-=")

    def log_type(self):
        return self.pick("SYSLOG daemon", "SYSLOG local3 info", "syslog AUTH debug", "SYSLOG", "SYSLOG nowhere", "SYSLOG daemon loud",
                         f"FILE {ROOM}/log/a", f"FILE {ROOM}/log/a 1k", f"FILE {ROOM}/log/a 100 200", f"FILE {ROOM}/log/a 200 100",
                         f"FILE {ROOM}/log/a 1k 2k 3k", f"FILE {ROOM}/log/a x", f"FILE {ROOM}/log/a 1M 1M", "FILE", "PIPE x",
                         f"FILE {ROOM}/log/b 100 1x")

    def flags(self):
        every = ["REUSE", "NORETRY", "NAMEINARGS", "NODELAY", "KEEPALIVE", "NOLIBWRAP", "IPv4", "IDONLY", "nolibwrap", "ipv4"]
        if self.some(0.1):
            every += ["BOGUS", "DISABLE"]
        return self.words(lambda: self.r.choice(every), 1, 3)

    def times(self):
        def clock():
            return f"{self.r.randint(0, 23)}:{self.r.choice(['00', '5', '30', '59'])}"
        good = lambda: f"{self.r.randint(0, 11)}:{self.r.randint(0, 59):02}-{self.r.randint(12, 23)}:{self.r.randint(0, 59):02}"
        odd = lambda: self.pick("22:00-2:00", "0:00-24:00", "8:60-9:00", "8-9", "8:00-", ":30-5:00", "8:00-9:00x", "08:00-009:00", "1:2-3:4", f"{clock()}-{clock()}")
        return self.words(lambda: odd() if self.some(0.25) else good(), 1, 3)

    def success(self):
        return self.words(lambda: self.pick("PID", "HOST", "USERID", "EXIT", "DURATION", "host", "TRAFFIC" if self.some(0.2) else "PID", "RECORD" if self.some(0.1) else "HOST"), 0, 4)

    def failure(self):
        return self.words(lambda: self.pick("HOST", "USERID", "ATTEMPT", "attempt", "RECORD" if self.some(0.1) else "HOST", "PID" if self.some(0.1) else "HOST"), 0, 3)

    def env(self):
        return self.words(lambda: self.pick("A=1", "B=2", "A=3", "PATH=/bin", "C=", "=x", "D=a=b", "novalue" if self.some(0.2) else "E=5", "REMOTE_HOST=me"), 0, 4)

    def passenv(self):
        return self.words(lambda: self.pick("PATH", "HOME", "NOSUCH", "LANG", "PATH"), 0, 3)

    def shared(self):
        """A line that `defaults` takes too."""
        return self.pick(
            lambda: f"instances = {self.number()}",
            lambda: f"per_source = {self.number()}",
            lambda: f"cps = {self.number(0.1)} {self.pick('10', '10', '10', 'x', '5 5')}",
            lambda: f"max_load = {self.pick('2.5', '0', 'x', '99.5x', '1e2', '.5', '0x2', '3.', '+1')}",
            lambda: f"groups = {self.yes()}",
            lambda: f"umask = {self.pick('022', '77', '0', '777', '1000', '8', 'x', '0022', '+22')}",
            lambda: f"bind = {self.pick('127.0.0.1', '127.0.0.1', 'localhost', '127.0.0.1', 'nohost.invalid', '127.0.0.2')}",
            lambda: f"log_type = {self.log_type()}",
            lambda: f"log_on_success {self.list_op()} {self.success()}",
            lambda: f"log_on_failure {self.list_op()} {self.failure()}",
            lambda: f"only_from {self.list_op()} {self.words(self.address, 0, 4)}",
            lambda: f"no_access {self.list_op()} {self.words(self.address, 0, 4)}",
            lambda: f"passenv {self.list_op()} {self.passenv()}",
            lambda: f"banner = {self.pick(ROOM + '/banner', ROOM + '/none', 'relative')}",
            lambda: f"banner_success = {self.pick(ROOM + '/banner', ROOM + '/none')}",
            lambda: f"banner_fail = {self.pick(ROOM + '/banner', '/')}",
        )()

    def own(self):
        """A line of a service alone."""
        return self.pick(
            lambda: f"access_times = {self.times()}",
            lambda: f"nice = {self.pick('5', '-5', '+3', 'x', '0', '19', '1.5')}",
            lambda: f"env {self.pick('=', '+=', '-=' if self.some(0.2) else '+=')} {self.env()}",
            lambda: f"server_args = {self.words(lambda: self.pick('a', '-b', '%d', '#c', chr(34) + 'q', chr(92)), 0 if self.some(0.1) else 1, 4)}",
            lambda: f"group = {self.pick('daemon', '0', '7', 'nogroup', 'nosuchgroup')}",
            lambda: f"deny_time = {self.pick('FOREVER', 'NEVER', '5', '0', 'x', '-1')}",
            lambda: f"rlimit_{self.pick('as', 'cpu', 'data', 'rss', 'stack', 'files')} = {self.number(0.4)}",
            lambda: f"libwrap = {self.pick('other', 'a b', 'x')}",
            lambda: f"rpc_version = {self.pick('1', '1-3', '3-1', 'x', '-')}",
            lambda: f"bogus = {self.number()}",
            lambda: f"disable = {self.pick('no', 'no', 'NO', 'perhaps')}",
        )()

    def service(self, n):
        r = self.r
        name = self.pick(f"s{n}", f"s{n}", f"s{n}", "twin", "echo", "daytime", "telnet", "nosuch")
        lines = []
        internal = name in ("echo", "daytime") and self.some(0.8)
        stream = self.some(0.8)
        kinds = (["INTERNAL"] if internal else []) + (["UNLISTED"] if self.some(0.9) else [])
        if self.some(0.05):
            kinds.append(self.pick("BOGUS", "SPECIAL", "internal", "unlisted"))
        r.shuffle(kinds)
        if kinds:
            lines.append(f"type = {' '.join(kinds)}")
        if self.some(0.5):
            lines.append(f"id = {self.pick(f'id{n}', f'id{n}', 'twin', name.upper(), 'echo-stream')}")
        if self.some(0.95):
            lines.append(f"socket_type = {'stream' if stream else 'dgram'}")
        if self.some(0.9):
            lines.append(f"protocol = {'tcp' if stream else 'udp'}")
        if self.some(0.97):
            lines.append(f"wait = {'no' if stream else 'yes'}")
        if self.some(0.95):
            lines.append(f"user = {self.pick('root', 'root', 'nobody', '0', '7', 'nosuchuser' if self.some(0.2) else 'root')}")
        if not internal or self.some(0.05):
            lines.append(f"server = {self.pick('/bin/echo', '/bin/echo', '/bin/cat', '/bin/nosuch' if self.some(0.3) else '/bin/echo')}")
        if self.some(0.95):
            self.port += r.randint(0 if self.some(0.1) else 1, 1)
            lines.append(f"port = {self.port}")
        if self.some(0.5):
            lines.append(f"flags = {self.flags()}")
        if self.some(0.06):
            lines.append("rpc_version = " + self.pick("1", "1-3", "2-2", "3-1", "0-5"))
            lines[0] = "type = " + self.pick("RPC UNLISTED", "RPC", "rpc unlisted")
            if self.some(0.8):
                lines.append("rpc_number = " + self.pick("300019", "300019", "300020", "x"))
        elif self.some(0.06):
            lines[0] = "type = " + self.pick("TCPMUX UNLISTED", "TCPMUXPLUS UNLISTED", "TCPMUX", "UNLISTED TCPMUX INTERNAL")
        elif self.some(0.06):
            lines.append(f"redirect = {self.pick('127.0.0.1 80', 'localhost telnet', '127.0.0.1 0', '127.0.0.1 70000', '::1 80', '127.0.0.1 x')}")
        lines += [self.own() if self.some(0.4) else self.shared() for _ in range(r.randint(0, 5))]
        if self.some(0.7):
            r.shuffle(lines)
        if self.some(0.06):
            lines.append(self.pick("disable = yes", "port 5", "nice= 3"))
        return self.section(f"service {name}", lines)

    def section(self, head, lines):
        text = [head, "{"] + ["\t" + line for line in lines] + ["}"]
        if self.some(0.1):
            text.insert(self.r.randint(0, len(text)), self.pick("# a comment", "", "   # c"))
        if self.some(0.02):
            text[1] = self.pick("{ ", "", "  {")
        return "\n".join(text) + "\n"

    def defaults(self):
        lines = [self.shared() for _ in range(self.r.randint(0, 5))]
        ids = lambda: self.words(lambda: self.pick("s0", "s1", "id1", "twin", "echo", "S0", "echo-stream", "none"), 0, 3)
        if self.some(0.12):
            lines.append(f"enabled {self.pick('=', '+=', '-=')} {ids()}")
        if self.some(0.2):
            lines.append(f"disabled {self.pick('=', '+=', '-=')} {ids()}")
        if self.some(0.05):
            lines.append(self.pick("port = 5", "bogus = 1", "user = root", "nice = 3"))
        self.r.shuffle(lines)
        return self.section("defaults", lines)

    def make(self):
        """Files by path below ROOM; the first is the main one."""
        sections = [self.service(n) for n in range(self.r.randint(1, 4))]
        main = []
        if self.some(0.75):
            main.append(self.defaults())
            if self.some(0.05):
                main.append(self.defaults())
        if self.some(0.4):
            names = self.r.sample(["a", "b", "B", "10", "9", "_x", "#y#", "z.conf", "old~", ".hidden", "A-b"], 4)
            for name in names:
                self.files[f"d/{name}"] = sections.pop() if sections and self.some(0.8) else self.pick("", "# nothing\n", "junk here\n")
            if self.some(0.2):
                self.files["d/sub"] = None
            main.append(f"includedir {ROOM}/d\n")
        if self.some(0.2):
            self.files["inc"] = sections.pop() if sections else ""
            main.append(f"include {ROOM}/inc\n")
        if self.some(0.05):
            main.append(self.pick(f"include {ROOM}/missing\n", f"includedir {ROOM}/missing\n", "include\n", "junk\n", "service\n"))
        at = 1 if main and main[0].startswith("defaults") else 0
        main[at:at] = sections if self.some(0.5) else []
        main += sections if at and sections and sections[0] not in main else [s for s in sections if s not in main]
        self.files["conf"] = "".join(main)
        return self.files


def mutated(files, seed, case):
    """The same configuration after somebody has edited it."""
    r = random.Random(f"{seed}/{case}/edit")
    new = dict(files)
    for _ in range(r.randint(1, 3)):
        path = r.choice([p for p, t in new.items() if t and "service" in t] or ["conf"])
        lines = (new[path] or "").split("\n")
        at = [n for n, line in enumerate(lines) if line.startswith("\t")]
        if not at:
            continue
        n = r.choice(at)
        kind = r.randint(0, 6)
        if kind <= 1:
            del lines[n]
        elif kind == 2:
            lines[n] = re.sub(r"\d+", lambda m: str(int(m.group()[:6]) + r.choice([0, 1, 2])), lines[n], count=1)
        elif kind == 3:
            lines.insert(n, r.choice(["\tdisable = yes", "\tnice = 3", "\tinstances = 30", "\tonly_from = 127.0.0.1 10.0.0.0/8", "\tno_access += 127.0.0.2",
                                      "\tbind = 127.0.0.1", "\tserver_args = other", "\tflags = IPv4", "\tumask = 022", "\tid = renamed", "\tuser = nobody"]))
        elif kind == 4:
            m = r.choice(at)
            lines[n], lines[m] = lines[m], lines[n]
        elif kind == 5:
            lines = [re.sub(r"(id = ).*", r"\1other", line) if i == n else line for i, line in enumerate(lines)]
        else:
            lines = [line for line in lines if not line.startswith("\tbind")]
        new[path] = "\n".join(lines)
    return new
