#!/usr/bin/env python3
"""Who finds which old code: `portreeve stale`, needrestart, checkrestart and `dnf needs-restarting` asked about the same processes.

    python3 benches/old_code.py RESULT.json PORTREEVE --peers DIR [--more 1000] [--reps 5] [--room DIR]

Root. Toy packages are built by rpmbuild and installed by rpm, their programs are started, each thing of CASES is done to one of them, and everybody is asked. Then
as often again with this many processes more, for the time it takes. It runs in a mount namespace of its own, in which /opt and /var/lib/rpm are directories below ROOM
(by default /var/tmp; it must be on a disk: dnf4 looks at nothing on tmpfs, overlayfs or btrfs, see below). DIR holds needrestart, its Perl modules and
debian-goodies as `dpkg -x` leaves them. Nothing outside of ROOM and RESULT.json is written.
"""

import argparse, json, os, re, shutil, signal, statistics, subprocess, sys, tempfile, time

HOST = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>
#ifdef LIBRARY
int number(void);
#else
static int number(void) { return VERSION; }
#endif
extern char **environ;
int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "memory")) {
    int own = open("/proc/self/exe", O_RDONLY), memory = memfd_create("host", 0);
    while (sendfile(memory, own, NULL, 1 << 20) > 0) {}
    char *plain[] = {"host", NULL};
    fexecve(memory, plain, environ);
    return 1;
  }
  if (argc > 2 && !strcmp(argv[1], "chroot") && (chroot(argv[2]) || chdir("/"))) return 1;
  if (argc > 2 && !strcmp(argv[1], "shared")) {
    int file = open(argv[2], O_RDWR | O_CREAT, 0700);
    if (ftruncate(file, 4096) || mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0) == MAP_FAILED) return 1;
  }
  printf("ready %d\n", number());
  fflush(stdout);
  pause();
  return 0;
}
"""

SPEC = """Name: {name}
Version: {version}
Release: 1
Summary: a test
License: none
AutoReqProv: no
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%description
a test
%install
cp -a {stage}/. %{{buildroot}}/
%files
{files}
"""

# What is done to whom, and whether old code runs after it.
CASES = [
    ("replaced", "library replaced by another build", True),
    ("removed", "library removed, with its package", True),
    ("loose", "library that no package has, replaced", True),
    ("program", "program replaced by another build", True),
    ("chroot", "library replaced, of a daemon in a chroot", True),
    ("container", "program replaced within a container's root", True),
    ("again", "same library installed again", False),
    ("touched", "library touched", False),
    ("other", "another file of the library's package replaced", False),
    ("memory", "program in a memfd", False),
    ("shared", "executable memory in /dev/shm, removed", False),
    ("module", "module of a Python script replaced, in PYTHONPATH", True),
    ("beside", "the same, beside the script", True),
]
MODULES = {"module": "module/lib", "beside": "beside"}
WITH_LIBRARY = ["replaced", "removed", "loose", "chroot", "again", "touched", "other"]


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)
    return done.stdout, done.returncode


def fine(*command, **more):
    said, code = run(list(command), **more)
    if code != 0:
        raise SystemExit(f"{command}: {code}\n{said[-2000:]}")
    return said


class Room:
    """The packages, and what is made of them."""

    def __init__(self, path):
        self.path, self.env = path, dict(os.environ, HOME=f"{path}/home", LC_ALL="C", NO_COLOR="1")
        for name in ["home", "opt", "rpm", "build", "container/old", "container/opt", "container/var/lib/rpm", "dnf"]:
            os.makedirs(f"{path}/{name}")
        open(f"{path}/home/.rpmmacros", "w").write("%_dbpath /var/lib/rpm\n")
        open(f"{path}/build/host.c", "w").write(HOST)
        fine("mount", "--bind", f"{path}/opt", "/opt")
        fine("mount", "--bind", f"{path}/rpm", "/var/lib/rpm")
        fine("rpm", "--initdb", env=self.env)
        fine("rpm", "--root", f"{path}/container", "--initdb", env=self.env)

    def cc(self, *arguments):
        fine("cc", *arguments, cwd=f"{self.path}/build")

    def library(self, at, version):
        text = f"int number(void) {{ return {version}; }}\n"
        open(f"{self.path}/build/number.c", "w").write(text)
        self.cc("-shared", "-fPIC", "-Wl,-soname,libnumber.so", "-o", at, "number.c")

    def package(self, name, version, make):
        """Builds a package of the files that make(directory, version) leaves below a directory."""
        stage = tempfile.mkdtemp(prefix="stage-", dir=f"{self.path}/build")
        make(stage, version)
        files = [os.path.join(d, f)[len(stage):] for d, _, names in os.walk(stage) for f in names]
        spec = f"{stage}.spec"
        open(spec, "w").write(SPEC.format(name=name, version=version, stage=stage, files="\n".join(files)))
        # rpmbuild has a database of its own.
        fine("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {stage}-top", "--define", "_build_id_links none", spec, env=self.env)
        return [os.path.join(d, f) for d, _, names in os.walk(f"{stage}-top/RPMS") for f in names][0]

    def rpm(self, *arguments):
        fine("rpm", *arguments, env=self.env)


def make_library(room, case):
    def make(stage, version):
        os.makedirs(f"{stage}/opt/{case}")
        # The "other" package brings the same library each time.
        room.library(f"{stage}/opt/{case}/libnumber.so", 1 if case == "other" else version)
        if case == "other":
            open(f"{stage}/opt/{case}/readme", "w").write(f"version {version}\n")
    return make


def make_program(room, case, *more):
    def make(stage, version):
        os.makedirs(f"{stage}/opt/{case}")
        library = ["-DLIBRARY", f"-L/opt/{case}", "-lnumber", "-Wl,-rpath,$ORIGIN"] if case in WITH_LIBRARY else []
        room.cc(f"-DVERSION={version}", "-o", f"{stage}/opt/{case}/host", "host.c", *library, *more)
    return make


def make_module(folder):
    def make(stage, version):
        os.makedirs(f"{stage}/opt/{folder}")
        open(f"{stage}/opt/{folder}/numbers_of_ours.py", "w").write(f"NUMBER = {version}\n")
    return make


def install(room):
    """Version 1 of everything."""
    for case in WITH_LIBRARY:
        if case == "loose":
            os.makedirs("/opt/loose")
            room.library("/opt/loose/libnumber.so", 1)
            make_program(room, case)(room.path + "/build/loose", 1)
            shutil.copy(room.path + "/build/loose/opt/loose/host", "/opt/loose/host")
            continue
        room.rpm("-U", room.package(f"{case}-lib", 1, make_library(room, case)))
        room.rpm("-U", room.package(f"{case}-host", 1, make_program(room, case)))
    for case in ["program", "memory", "shared"]:
        room.rpm("-U", room.package(case, 1, make_program(room, case)))
    room.rpm("--root", f"{room.path}/container", "-U", room.package("container", 1, make_program(room, "container", "-static")))
    for case, folder in MODULES.items():
        room.rpm("-U", room.package(f"{case}-lib", 1, make_module(folder)))

        def script(stage, _):
            os.makedirs(f"{stage}/opt/{case}")
            # Each import on its own line, as needrestart reads them.
            open(f"{stage}/opt/{case}/host.py", "w").write("import numbers_of_ours\nimport signal\nprint('ready', numbers_of_ours.NUMBER, flush=True)\nsignal.pause()\n")
        room.rpm("-U", room.package(f"{case}-host", 1, script))


def start(room):
    """Starts one process for each case, and waits until it is ready."""
    into = "mount --bind \"$0\" \"$0\" && cd \"$0\" && pivot_root . old && exec /opt/container/host"
    commands = {case: [f"/opt/{case}/host"] for case, _, _ in CASES}
    commands["chroot"] += ["chroot", "/opt/program"]
    commands["memory"] += ["memory"]
    commands["shared"] += ["shared", f"/dev/shm/portreeve-old-code-{os.getpid()}"]
    commands["container"] = ["unshare", "-m", "sh", "-c", into, f"{room.path}/container"]
    for case in MODULES:
        commands[case] = ["/usr/bin/python3", f"/opt/{case}/host.py"]
    running = {}
    for case, command in commands.items():
        env = dict(room.env, PYTHONPATH="/opt/module/lib") if case == "module" else room.env
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        running[case] = child
        said = child.stdout.readline()
        if not said.startswith(b"ready"):
            raise SystemExit(f"{command}: {said}")
    return running


def happen(room):
    """What the cases say."""
    for case in ["replaced", "chroot", "other"]:
        room.rpm("-U", room.package(f"{case}-lib", 2, make_library(room, case)))
    room.rpm("-e", "--nodeps", "removed-lib")
    room.library(f"{room.path}/build/new", 2)
    shutil.copy(f"{room.path}/build/new", "/opt/loose/new")
    os.rename("/opt/loose/new", "/opt/loose/libnumber.so")
    room.rpm("-U", room.package("program", 2, make_program(room, "program")))
    room.rpm("--root", f"{room.path}/container", "-U", room.package("container", 2, make_program(room, "container", "-static")))
    before = os.stat("/opt/again/libnumber.so").st_ino
    room.rpm("-U", "--force", room.package("again-lib", 1, make_library(room, "again")))
    assert os.stat("/opt/again/libnumber.so").st_ino != before
    os.utime("/opt/touched/libnumber.so")
    os.unlink(f"/dev/shm/portreeve-old-code-{os.getpid()}")
    for case, folder in MODULES.items():
        room.rpm("-U", room.package(f"{case}-lib", 2, make_module(folder)))


class Tools:
    """Everybody: a name, a command, and who is old by what it says."""

    def __init__(self, room, portreeve, peers):
        perl = ":".join(f"{peers}/usr/{at}" for at in ["share/perl5", "lib/x86_64-linux-gnu/perl5/5.36"])
        conf = f"{room.path}/needrestart.conf"
        text = open(f"{peers}/etc/needrestart/needrestart.conf").read()
        open(conf, "w").write(text + f"\n$nrconf{{hook_d}} = '{peers}/etc/needrestart/hook.d';\n1;\n")
        places = [f"--setopt={name}={room.path}/dnf/{name}" for name in ["cachedir", "logdir", "persistdir"]]
        self.all = {
            "portreeve": [portreeve, "stale", "--json", "--control", "/nonexistent/control", "--waivers", "/nonexistent/waivers"],
            "needrestart": ["env", f"PERL5LIB={perl}", f"{peers}/usr/sbin/needrestart", "-v", "-r", "l", "-c", conf],
            "checkrestart": [f"{peers}/usr/sbin/checkrestart", "-v"],
            "dnf4": ["dnf", "-q", "--releasever=1", "--disablerepo=*", *places, "needs-restarting"],
        }
        self.env = room.env

    def ask(self, name):
        before = time.monotonic()
        done = subprocess.run(self.all[name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=self.env)
        wall, said = time.monotonic() - before, done.stdout.decode(errors="replace")
        both = said + done.stderr.decode(errors="replace")
        if name == "portreeve":
            pids = {process["pid"] for process in json.loads(said)["processes"]}
        else:
            pattern = {"needrestart": r"#(\d+) (?:uses|uses obsolete .*|is running obsolete .*)\b", "checkrestart": r"\(PID: (\d+)\)", "dnf4": r"^(\d+) : "}[name]
            pids = {int(pid) for pid in re.findall(pattern, both, flags=re.M)}
        return pids, wall, both


def versions(peers):
    said = {"dnf4": fine("dpkg-query", "-W", "-f", "${Package} ${Version}\n", "dnf", "dnf-plugins-core", "rpm")}
    for name in ["needrestart", "debian-goodies"]:
        debs = os.path.join(os.path.dirname(peers), "debs")
        said[name] = [deb for deb in os.listdir(debs) if deb.startswith(name)] if os.path.isdir(debs) else "unknown"
    return said


def main(arguments):
    with tempfile.TemporaryDirectory(prefix="portreeve-old-code-", dir=arguments.room) as path:
        room, running, crowd = Room(path), {}, []
        try:
            install(room)
            running = start(room)
            # The tools count in seconds, and needrestart tolerates two of them.
            time.sleep(4)
            happen(room)
            time.sleep(1)
            tools = Tools(room, arguments.portreeve, arguments.peers)
            result = {"versions": versions(arguments.peers), "load": os.getloadavg(), "cases": {}, "said": {}, "seconds": {}}
            for name in tools.all:
                pids, _, said = tools.ask(name)
                result["said"][name] = said
                for case, _, _ in CASES:
                    result["cases"].setdefault(case, {})[name] = running[case].pid in pids
            for more in [0, arguments.more]:
                crowd += [subprocess.Popen(["sleep", "1h"], start_new_session=True) for _ in range(more)]
                count = sum(name.isdigit() for name in os.listdir("/proc"))
                seconds = {name: [tools.ask(name)[1] for _ in range(arguments.reps)] for name in tools.all}
                result["seconds"][f"{more} more"] = {"processes": count, **seconds}
        finally:
            for child in [*running.values(), *crowd]:
                child.send_signal(signal.SIGKILL)
            for child in [*running.values(), *crowd]:
                child.wait()
            for at in ["/opt", "/var/lib/rpm"]:
                subprocess.run(["umount", at], stderr=subprocess.DEVNULL)
    json.dump(result, open(arguments.result, "w"), indent=1)
    names = list(result["said"])
    print("| what happened | old? | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 2))
    for case, text, old in CASES:
        cells = ["found" if found else "missed" if old else "-" for found in (result["cases"][case][name] for name in names)]
        print(f"| {text} | {'yes' if old else 'no'} | " + " | ".join(cells) + " |")
    for more, seconds in result["seconds"].items():
        shown = ", ".join(f"{name} {statistics.median(seconds[name]):.2f} s" for name in names)
        print(f"{more}, {seconds['processes']} in all: {shown}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result"), parser.add_argument("portreeve"), parser.add_argument("--peers", required=True)
    parser.add_argument("--more", type=int, default=1000), parser.add_argument("--reps", type=int, default=5), parser.add_argument("--room", default="/var/tmp")
    arguments = parser.parse_args()
    arguments.peers, arguments.portreeve = os.path.abspath(arguments.peers), os.path.abspath(arguments.portreeve)
    if os.environ.get("OLD_CODE_INSIDE") != "1":
        os.environ["OLD_CODE_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])
    main(arguments)
