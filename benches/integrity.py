#!/usr/bin/env python3
"""How long `portreeve integrity` takes, beside AIDE, Tripwire and two parallel SHA-256 hashers on the same trees.

    python3 benches/integrity.py RESULT.json PORTREEVE [--peers DIR] [--reps 5] [--trees usr,gigabyte,flat] [--slow]

Root, for files that others may not read. The page cache is warmed first. Each repetition runs everybody once, in an order that turns, so that
what else the machine does meets all alike; both the time and the processor time (which other work touches less) are kept, and the median is shown.
DIR holds unpacked packages: aide/, tripwire/ and libs/ as `dpkg -x` leaves them. Nothing is installed, and nothing is written but below a
temporary directory and RESULT.json. Peers that take more than ten times as long run once, and only with --slow.
"""

import argparse, json, os, shutil, statistics, subprocess, sys, tempfile, time

ENV = dict(os.environ, NO_COLOR="1")


def timed(command, fine=(0,), cwd=None, stdin=None, env=None):
    """Runs a command to its end. Seconds, processor seconds of it and all that it waited for, and its largest memory in MiB."""
    before = time.monotonic()
    with open(os.path.join(HOME, "last.out"), "w") as out, open(stdin or os.devnull, "rb") as into:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=into, cwd=cwd, env=env or ENV)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - before
    if child.returncode not in fine:
        print(open(os.path.join(HOME, "last.out")).read()[-2000:], file=sys.stderr)
        raise SystemExit(f"{command}: exit code {child.returncode}")
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024}


def files(trees):
    """The regular files below some paths, on their own file systems, for xargs -0."""
    path = os.path.join(HOME, "list")
    with open(path, "wb") as out:
        subprocess.run(["find", *trees, "-xdev", "-type", "f", "-print0"], stdout=out, check=True)
    names = open(path, "rb").read().split(b"\0")[:-1]
    total = sum(os.lstat(name).st_size for name in names)
    return path, len(names), total


def flat(number):
    """A directory with this many small files."""
    path = os.path.join(HOME, f"flat{number}")
    os.mkdir(path)
    for at in range(number):
        with open(os.path.join(path, f"file-{at:06}"), "w") as out:
            out.write(f"{at}\n" * 200)
    return [path]


def gigabyte(limit=10**9):
    """Paths of /usr/bin and /usr/lib, taken until their files have a gigabyte."""
    taken, size = [], 0
    for path in ["/usr/bin", "/usr/sbin", *sorted(p.path for p in os.scandir("/usr/lib") if p.is_dir(follow_symlinks=False))]:
        if size > limit or not os.path.isdir(path) or os.path.islink(path):
            continue
        add = sum(os.lstat(os.path.join(d, f)).st_size for d, _, names in os.walk(path) for f in names)
        if size + add < 1.3 * limit:
            taken.append(path)
            size += add
    return taken


class Ours:
    def __init__(self, name, binary, trees, extra=()):
        self.home = os.path.join(HOME, "ours" + name + "".join(extra).replace("-", ""))
        os.mkdir(self.home)
        self.binary, self.trees, self.extra = binary, trees, list(extra)
        self.key = os.path.join(self.home, "key")
        subprocess.run([binary, "integrity", "key", self.key, "--public", self.key + ".pub", "--no-passphrase"], check=True, stdout=subprocess.DEVNULL)

    def init(self):
        shutil.rmtree(os.path.join(self.home, "store"), ignore_errors=True)
        return timed([self.binary, "integrity", "init", "--key", self.key, "--store", os.path.join(self.home, "store"), *self.extra, *self.trees])

    def check(self, *extra):
        return timed([self.binary, "integrity", "check", "--public", self.key + ".pub", "--store", os.path.join(self.home, "store"),
                      "--waivers", "/nonexistent", "--journal", os.path.join(self.home, "notes"), *extra], fine=(0, 1))


class Aide:
    def __init__(self, name, peers, trees):
        self.home = os.path.join(HOME, "aide" + name)
        os.mkdir(self.home)
        self.binary = os.path.join(peers, "aide/usr/bin/aide")
        self.conf = os.path.join(self.home, "conf")
        with open(self.conf, "w") as out:
            out.write(f"database_in=file:{self.home}/db\ndatabase_out=file:{self.home}/new\ngzip_dbout=no\nreport_url=file:{self.home}/report\n")
            out.write("num_workers=2\nR=p+u+g+s+m+c+i+n+acl+xattrs+e2fsattrs+sha256\n")
            out.writelines(f"{tree} R\n" for tree in trees)

    def init(self):
        used = timed([self.binary, "--init", f"--config={self.conf}"])
        os.replace(os.path.join(self.home, "new"), os.path.join(self.home, "db"))
        return used

    def check(self):
        return timed([self.binary, "--check", f"--config={self.conf}"], fine=range(8))


class Tripwire:
    def __init__(self, name, peers, trees):
        self.home = os.path.join(HOME, "tripwire" + name)
        os.mkdir(self.home)
        self.bin = os.path.join(peers, "tripwire/usr/sbin")
        at = lambda file: os.path.join(self.home, file)
        with open(at("tw.txt"), "w") as out:
            for key, value in dict(ROOT=self.bin, POLFILE=at("tw.pol"), DBFILE=at("tw.twd"), REPORTFILE=at("tw.twr"), SITEKEYFILE=at("site.key"),
                                   LOCALKEYFILE=at("local.key"), EDITOR="/bin/true", LATEPROMPTING="false", LOOSEDIRECTORYCHECKING="false",
                                   MAILNOVIOLATIONS="false", EMAILREPORTLEVEL="1", REPORTLEVEL="1", MAILMETHOD="SENDMAIL",
                                   SYSLOGREPORTING="false", MAILPROGRAM="/bin/true").items():
                out.write(f"{key}={value}\n")
        with open(at("pol.txt"), "w") as out:
            out.writelines(f"{tree} -> +pugsmci+S;\n" for tree in trees)
        admin = lambda *words: subprocess.run([os.path.join(self.bin, "twadmin"), *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        admin("--generate-keys", "--site-keyfile", at("site.key"), "--site-passphrase", "x")
        admin("--generate-keys", "--local-keyfile", at("local.key"), "--local-passphrase", "x")
        admin("--create-cfgfile", "--cfgfile", at("tw.cfg"), "--site-keyfile", at("site.key"), "--site-passphrase", "x", at("tw.txt"))
        admin("--create-polfile", "--cfgfile", at("tw.cfg"), "--polfile", at("tw.pol"), "--site-keyfile", at("site.key"), "--site-passphrase", "x", at("pol.txt"))
        self.common = ["--cfgfile", at("tw.cfg"), "--polfile", at("tw.pol"), "--site-keyfile", at("site.key"), "--local-keyfile", at("local.key")]

    def init(self):
        return timed([os.path.join(self.bin, "tripwire"), "--init", *self.common, "--local-passphrase", "x"])

    def check(self):
        return timed([os.path.join(self.bin, "tripwire"), "--check", *self.common], fine=range(8))


def tree(name, paths, arguments):
    path, number, size = files(paths)
    subprocess.run(f"xargs -0 -n 500 cat < {path} > /dev/null", shell=True, check=False, stderr=subprocess.DEVNULL)
    hashers = ["xargs", "-0", "-P2", "-n256", "openssl", "dgst", "-sha256", "-r"]
    ours, blake = Ours(name, arguments.portreeve, paths), Ours(name, arguments.portreeve, paths, ("--hash", "blake3"))
    runs = {
        "two parallel hashers (openssl)": lambda: timed(hashers, fine=(0, 123), stdin=path),
        "**portreeve** init": ours.init,
        "**portreeve** check": ours.check,
        "**portreeve** check --quick": lambda: ours.check("--quick"),
        "**portreeve** init --hash blake3": blake.init,
    }
    slow = {}
    if arguments.peers:
        aide = Aide(name, arguments.peers, paths)
        (slow if name in ("usr", "flat") else runs).update({"AIDE init": aide.init, "AIDE check": aide.check})
        if name != "usr":
            tripwire = Tripwire(name, arguments.peers, paths)
            (slow if name == "flat" else runs).update({"Tripwire init (SHA-1)": tripwire.init, "Tripwire check (SHA-1)": tripwire.check})
    kept = {label: [] for label in runs}
    for turn in range(arguments.reps):
        order = list(runs.items())
        # A check needs its init before it: whole blocks turn, not single runs.
        if turn % 2:
            order = order[1:] + order[:1]
        for label, run in order:
            kept[label].append(run())
            print(name, label, {key: round(value, 2) for key, value in kept[label][-1].items()}, flush=True)
    if arguments.slow:
        for label, run in slow.items():
            kept[label] = [run()]
            print(name, label, {key: round(value, 2) for key, value in kept[label][-1].items()}, flush=True)
    return {"paths": paths, "files": number, "bytes": size, "runs": kept}


def table(results):
    for name, result in results.items():
        yield f"\n**{name}**: {result['files']:,} files, {result['bytes'] / 1e6:,.0f} MB\n"
        yield "| | seconds | × hashers | processor seconds | × hashers | MiB |\n|---|---|---|---|---|---|"
        middle = lambda label, key: statistics.median(run[key] for run in result["runs"][label])
        base = "two parallel hashers (openssl)"
        for label in result["runs"]:
            wall, cpu = middle(label, "wall"), middle(label, "cpu")
            ratio = lambda key: statistics.median(
                mine[key] / theirs[key] for mine, theirs in zip(result["runs"][label], result["runs"][base]))
            memory = max(run["mib"] for run in result["runs"][label])
            shown = "–" if label == base else f"{memory:.0f}"
            yield f"| {label} | {wall:.2f} | {ratio('wall'):.2f} | {cpu:.2f} | {ratio('cpu'):.2f} | {shown} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result"), parser.add_argument("portreeve"), parser.add_argument("--peers")
    parser.add_argument("--reps", type=int, default=5), parser.add_argument("--trees", default="gigabyte,flat,usr")
    parser.add_argument("--slow", action="store_true")
    arguments = parser.parse_args()
    if arguments.peers:
        ENV["LD_LIBRARY_PATH"] = os.path.join(arguments.peers, "libs/usr/lib/x86_64-linux-gnu")
    with tempfile.TemporaryDirectory(prefix="portreeve-bench-integrity-") as HOME:
        makers = {"usr": lambda: ["/usr"], "gigabyte": gigabyte, "flat": lambda: flat(20_000), **{f"flat{number}": lambda number=number: flat(number) for number in (2_000, 10_000, 50_000)}}
        results = {name: tree(name, makers[name](), arguments) for name in arguments.trees.split(",")}
    with open(arguments.result, "w") as out:
        json.dump(results, out, indent=1)
    print("\n".join(table(results)))
