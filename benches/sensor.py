"""What the sensor costs under a flood of forged senders: share of a core, memory, what was dropped, who was banned.

    sensor.py RESULT.json GATE [SECONDS [RATE]]

Root. Makes two network namespaces joined by a wire, runs GATE in one and sends SYN in the names of 100,000 senders from the other, RATE a
second (50,000), with ports that go round. Prints and writes the figures.
"""
import ctypes, json, os, random, socket, struct, subprocess, sys, tempfile, time

SENDERS = 100_000


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def frame(to_mac, from_mac, sender, port):
    here = socket.inet_aton("10.9.0.1")
    tcp = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 1024, 0, 0)
    pseudo = sender + here + struct.pack("!BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, sender, here)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return to_mac + from_mac + b"\x08\x00" + ip + tcp


def enter(name):
    with open(f"/run/netns/{name}") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")


def mac(interface):
    with open(f"/sys/class/net/{interface}/address") as text:
        return bytes.fromhex(text.read().strip().replace(":", ""))


def flood(frames, rate, seconds):
    """Sends for so long; how many."""
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind(("sb1", 0))
    sent, start = 0, time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        due = int(passed * rate)
        while sent < due:
            out.send(frames[sent % len(frames)])
            sent += 1
        time.sleep(0.0005)
    return sent


def ask(control, request):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(control)
        client.sendall(request + b"\n")
        answer = b""
        while part := client.recv(65536):
            answer += part
    return json.loads(answer)


def used(pid):
    with open(f"/proc/{pid}/stat") as text:
        fields = text.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid):
    with open(f"/proc/{pid}/status") as text:
        return {line.split(":")[0]: int(line.split()[1]) for line in text if line.startswith(("VmRSS", "VmHWM"))}


def main():
    result, gate = sys.argv[1:3]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 20
    rate = int(sys.argv[4]) if len(sys.argv) > 4 else 50_000
    work = tempfile.mkdtemp(prefix="portreeve-sensor-")
    conf, control = f"{work}/conf", f"{work}/control"
    with open(conf, "w") as text:
        text.write("defaults\n{\n\twatch_scans = yes\n}\nservice s\n{\n\ttype = INTERNAL UNLISTED\n\tid = s\n\tsocket_type = stream\n"
                   "\tprotocol = tcp\n\tport = 7007\n\twait = no\n}\n".replace("service s", "service discard"))
    run("ip", "netns", "add", "sensor0")
    run("ip", "netns", "add", "sensor1")
    daemon = None
    try:
        run("ip", "-n", "sensor0", "link", "add", "sb0", "type", "veth", "peer", "name", "sb1", "netns", "sensor1")
        run("ip", "-n", "sensor0", "link", "set", "lo", "up")
        run("ip", "-n", "sensor0", "address", "add", "10.9.0.1/24", "dev", "sb0")
        run("ip", "-n", "sensor0", "link", "set", "sb0", "up")
        run("ip", "-n", "sensor1", "link", "set", "sb1", "up")
        # Answers to forged senders would cost the sending side; they go nowhere.
        daemon = subprocess.Popen(["ip", "netns", "exec", "sensor0", gate, "run", "-f", conf, "--control", control, "--ledger", "off"],
                                  stderr=open(f"{work}/log", "w"))
        for _ in range(200):
            time.sleep(0.1)
            if os.path.exists(control) and ask(control, b"status")["sensor"]["state"] == "watching":
                break
        else:
            raise SystemExit("the sensor does not watch")
        worker = next(w for w in ask(control, b"status")["workers"] if w["name"] == "sensor")["pid"]
        to = bytes.fromhex(subprocess.run(["ip", "netns", "exec", "sensor0", "cat", "/sys/class/net/sb0/address"], check=True,
                                          capture_output=True, text=True).stdout.strip().replace(":", ""))
        child = os.fork()
        if child == 0:
            enter("sensor1")
            pick = random.Random(1)
            senders = [struct.pack("!I", 0x0B000000 + n) for n in pick.sample(range(0x70000000), SENDERS)]
            frames = [frame(to, b"\x02\x00\x00\x00\x00\x01", sender, 1 + n % 60_000 if 1 + n % 60_000 != 7007 else 7008)
                      for n, sender in enumerate(senders)]
            with open(f"{work}/ready", "w"):
                pass
            while not os.path.exists(f"{work}/go"):
                time.sleep(0.01)
            with open(f"{work}/sent", "w") as text:
                text.write(str(flood(frames, rate, seconds)))
            os._exit(0)
        while not os.path.exists(f"{work}/ready"):
            time.sleep(0.05)
        before, began = used(worker), time.monotonic()
        open(f"{work}/go", "w").close()
        os.waitpid(child, 0)
        time.sleep(1.5)
        wall, cpu = time.monotonic() - began, used(worker) - before
        with open(f"{work}/sent") as text:
            sent = int(text.read())
        status = ask(control, b"status")
        sensor = status["sensor"]
        figures = {
            "sent": sent, "per_second": round(sent / seconds), "senders": SENDERS, "seconds": seconds,
            "core_percent": round(100 * cpu / seconds, 2), "microseconds_a_packet": round(1e6 * cpu / max(1, sensor["packets"]), 3),
            "packets": sensor["packets"], "dropped_by_kernel": sensor["dropped_by_kernel"], "probes": sensor["probes"],
            "sources": sensor["sources"], "turned_away": sensor["turned_away"], "evicted": sensor["evicted"],
            "scans": sensor["scans"], "bans": status["bans"], "memory_kib": memory(worker),
            "load": os.getloadavg()[0],
        }
        with open(result, "w") as text:
            json.dump(figures, text, indent=1)
        print(json.dumps(figures, indent=1))
    finally:
        if daemon:
            daemon.terminate()
            daemon.wait()
        for name in ("sensor0", "sensor1"):
            subprocess.run(["ip", "netns", "del", name])


main()
