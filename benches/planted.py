#!/usr/bin/env python3
"""What is planted in a real system during a real upgrade, and who finds it: `portreeve integrity`, AIDE, Tripwire, debsums, dpkg --verify.

    python3 benches/planted.py RESULT.json PORTREEVE ROOT --peers DIR

Root. ROOT is a directory in which debootstrap has just made a Debian; it is changed. Everybody records it, apt upgrades it with what the archive has
newer (security updates, which debootstrap leaves out), the trojans are planted, and everybody looks again. DIR holds unpacked packages as for
benches/integrity.py; debsums and dpkg are those of this machine, on ROOT. Nothing outside of ROOT, RESULT.json and a temporary directory is written.
"""

import argparse, json, os, re, shutil, subprocess, tempfile

PLACES = ["bin", "boot", "etc", "lib", "lib64", "opt", "root", "sbin", "usr"]


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)


def within(*command):
    return run(["chroot", ROOT, *command], env=dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive", NO_COLOR="1", PATH="/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))


def at(path):
    return os.path.join(ROOT, path.lstrip("/"))


def keep_times(path, change):
    """Changes a file and sets its mtime back, as an intruder does."""
    before = os.stat(path)
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip(path, where=0.5):
    with open(path, "r+b") as file:
        file.seek(int(os.path.getsize(path) * where))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def find(pattern):
    found = run(f"ls -d {ROOT}{pattern}", shell=True).stdout.split()
    return found[0][len(ROOT):]


def plant():
    """What is planted: a name, the path, and what was done."""
    ls, cat, du, sort = "/usr/bin/ls", "/usr/bin/cat", "/usr/bin/du", "/usr/bin/sort"
    pam = find("/usr/lib/*/security/pam_unix.so")
    yield "changed `ls`, longer", ls
    with open(at(ls), "ab") as file:
        file.write(b"evil")
    yield "changed PAM module, same size", pam
    flip(at(pam))
    yield "same size, same mtime, other content", cat
    keep_times(at(cat), lambda: flip(at(cat)))
    yield "changed times only", du
    os.utime(at(du), (1_000_000_000, 1_000_000_000))
    yield "new set-uid file", "/usr/lib/.hidden"
    shutil.copyfile(at("/usr/bin/cp"), at("/usr/lib/.hidden"))
    os.chmod(at("/usr/lib/.hidden"), 0o4755)
    yield "set-uid bit on a package's file", "/usr/bin/find"
    os.chmod(at("/usr/bin/find"), 0o4755)
    yield "capability on a package's file", "/usr/bin/tail"
    # cap_setuid+ep, revision 2.
    os.setxattr(at("/usr/bin/tail"), "security.capability", bytes.fromhex("0100000280000000000000000000000000000000"))
    yield "changed, and its sum in dpkg's list too", sort
    flip(at(sort))
    sums = at("/var/lib/dpkg/info/coreutils.md5sums")
    new = run(["md5sum", at(sort)]).stdout.split()[0]
    text = open(sums).read()
    keep_times(sums, lambda: open(sums, "w").write(re.sub(r"^\w+(  usr/bin/sort)$", new + r"\1", text, flags=re.M)))
    yield "new key in authorized_keys", "/root/.ssh/authorized_keys"
    os.makedirs(at("/root/.ssh"), exist_ok=True)
    open(at("/root/.ssh/authorized_keys"), "w").write("ssh-ed25519 AAAA evil\n")
    yield "link led elsewhere", "/usr/bin/awk"
    os.unlink(at("/usr/bin/awk"))
    os.symlink("/tmp/evil", at("/usr/bin/awk"))
    yield "removed file", "/usr/bin/wc"
    os.unlink(at("/usr/bin/wc"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result"), parser.add_argument("portreeve"), parser.add_argument("root"), parser.add_argument("--peers", required=True)
    arguments = parser.parse_args()
    ROOT = os.path.realpath(arguments.root)
    peers = dict(os.environ, LD_LIBRARY_PATH=os.path.join(arguments.peers, "libs/usr/lib/x86_64-linux-gnu"))
    trees = [at(place) for place in PLACES if os.path.isdir(at(place)) and not os.path.islink(at(place))]
    with tempfile.TemporaryDirectory(prefix="portreeve-planted-") as HOME:
        import importlib.util
        spec = importlib.util.spec_from_file_location("integrity_bench", os.path.join(os.path.dirname(os.path.abspath(__file__)), "integrity.py"))
        bench = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(bench)
        bench.HOME, bench.ENV = HOME, peers
        shutil.copyfile(arguments.portreeve, at("/usr/local/bin/portreeve"))
        os.chmod(at("/usr/local/bin/portreeve"), 0o755)
        os.makedirs(at("/etc/portreeve"), exist_ok=True)
        with open(at("/etc/apt/sources.list"), "a") as out:
            out.write("deb http://deb.debian.org/debian-security bookworm-security main\ndeb http://deb.debian.org/debian bookworm-updates main\n")
        print(within("apt-get", "update").stdout[-300:])
        print(within("portreeve", "integrity", "key", "/var/lib/key", "--no-passphrase").stdout)
        print(within("portreeve", "integrity", "init", "--key", "/var/lib/key").stdout)
        aide, tripwire = bench.Aide("", arguments.peers, trees), bench.Tripwire("", arguments.peers, trees)
        aide.init(), tripwire.init()
        upgraded = within("apt-get", "-y", "-q", "upgrade").stdout
        print(upgraded[-500:])
        count = len(re.findall(r"^Unpacking ", upgraded, flags=re.M))
        # What the upgrade alone changed, before anything is planted.
        calm = {"portreeve check": within("portreeve", "integrity", "check").stdout}
        planted = list(plant())
        said = {"portreeve check": within("portreeve", "integrity", "check").stdout,
                "portreeve check --quick": within("portreeve", "integrity", "check", "--quick").stdout,
                "portreeve packages": within("portreeve", "integrity", "packages", "--waivers", "/nonexistent").stdout}
        aide.check()
        said["AIDE"] = open(os.path.join(HOME, "aide", "report")).read()
        tripwire.check()
        said["Tripwire"] = run([os.path.join(arguments.peers, "tripwire/usr/sbin/twprint"), "--print-report", "-t", "1", "--twrfile",
                                os.path.join(HOME, "tripwire/tw.twr"), *tripwire.common[:2], *tripwire.common[4:]], env=peers).stdout
        said["debsums"] = run(["debsums", "-a", "-s", "-r", ROOT]).stdout
        said["dpkg --verify"] = run(["dpkg", f"--root={ROOT}", "--verify"]).stdout
    def lines(text, path):
        # Lists of packages have the names from before the directories were merged, too.
        names = "|".join(re.escape(name) for name in {path, path.removeprefix("/usr")})
        return [line for line in text.splitlines() if re.search(f"({names})($|[\\s:\"'(])", line)]
    # Whoever lists everything that the upgrade touched has the trojan in it too; a person has to see it there.
    summary = {tool: {"lines": len(text.splitlines()), "found": {path: lines(text, path)[:3] for _, path in planted}} for tool, text in said.items()}
    result = {"upgraded": count, "calm": calm, "planted": planted, "tools": summary, "said": said}
    json.dump(result, open(arguments.result, "w"), indent=1)
    print(f"\n{count} packages upgraded\n\n| planted | " + " | ".join(summary) + " |\n|" + "---|" * (len(summary) + 1))
    for name, path in planted:
        print(f"| {name} | " + " | ".join("found" if summary[tool]["found"][path] else "**missed**" for tool in summary) + " |")
    print("| lines to read | " + " | ".join(str(summary[tool]["lines"]) for tool in summary) + " |")
