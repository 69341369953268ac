"""The server on networks that are partly dead, in network and mount namespaces of their own.

namespaces.py SERVER SIMULATOR FOLDER, by `unshare -Urmn`: names, routes and name servers are ours here.
Prints one line for each thing that was looked at; exits with 1 where one was not as it should be.
"""

import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request

SERVER, SIMULATOR, FOLDER = (os.path.abspath(path) for path in sys.argv[1:4])
NAME = "exchange.test"
SESSIONS = 20
failed = []
processes = []


def judge(what, is_right, found=""):
    print(("right" if is_right else "WRONG"), what, found)
    if not is_right:
        failed.append(what)


def run(*command):
    subprocess.run(command, check=True)


def own_file(path, text):
    """Puts `text` in the place of `path`, for this mount namespace."""
    if os.path.exists(path):
        own = os.path.join(FOLDER, os.path.basename(path))
        with open(own, "w") as file:
            file.write(text)
        run("mount", "--bind", own, path)


def hosts(*lines):
    with open(os.path.join(FOLDER, "hosts"), "w") as file:
        file.write("\n".join(("127.0.0.1 localhost",) + lines) + "\n")


def start(command, env, ready):
    """A process, and the groups of `ready` in what it prints."""
    env = {"PATH": os.environ["PATH"], **env}
    folder = os.path.join(FOLDER, str(len(processes)))
    os.makedirs(folder, exist_ok=True)
    errors = open(os.path.join(folder, "stderr"), "w")
    process = subprocess.Popen(
        command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
    )
    processes.append(process)
    text = ""
    for line in process.stdout:
        text += line
        found = re.search(ready, text)
        if found:
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process, found.groups()
    sys.exit(f"{command} ended: {text}")


def start_simulator(*arguments):
    """The variables that point at a simulator of its own."""
    last = r"(?s)(.*HYPERLIQUID_COINM_REST_URL=\S+)"
    _, (text,) = start([SIMULATOR, "--print-env", *arguments], {}, last)
    return dict(line.split("=", 1) for line in text.splitlines() if line.startswith("CONNECTOR_"))


def start_server(env, *wrapper):
    env = {"CONNECTOR_WSS_PORT": "0", "CONNECTOR_WSS_HEALTH_CHECK_PORT": "0", **env}
    process, (ops,) = start([*wrapper, SERVER], env, r"(?s)ops:\s+http://([\d.:]+)/.*try:")
    return process, ops


def metric(ops, name, *labels, get=None):
    url = f"http://{ops}/metrics"
    text = get(url) if get else urllib.request.urlopen(url, timeout=5).read().decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name + "{"))
    return sum(float(value) for series, value in lines if all(label in series for label in labels))


def seconds_until(condition, patience):
    began = time.monotonic()
    while time.monotonic() < began + patience:
        if condition():
            return time.monotonic() - began
        time.sleep(0.02)
    return float("inf")


def end(*some):
    for process in some:
        process.terminate()
        process.wait()


def dead_ipv6(simulated, what, address):
    """A name with a dead address and a good one: every session is up within an attempt."""
    port = simulated["CONNECTOR_BINANCE_SPOT_WS_URL"].rsplit(":", 1)[1]
    hosts(f"{address} {NAME}", f"127.0.0.1 {NAME}")
    symbols = ",".join(f"SIM{number:04}USDT" for number in range(1, SESSIONS + 1))
    server, ops = start_server({
        **simulated,
        "CONNECTOR_BINANCE_SPOT_WS_URL": f"ws://{NAME}:{port}",
        "CONNECTOR_MAX_SYMBOL_PER_WS": "1",
        "CONNECTOR_PRELOAD": f"binance:spot:{symbols}",
    })
    spot = ('exchange="binance"', 'contract_type="spot"')
    took = seconds_until(
        lambda: metric(ops, "connector_active_connections", *spot) == SESSIONS, 30
    )
    judge(f"{SESSIONS} sessions are up within 2 s beside {what}", took < 2, f"{took:.2f} s")
    judge("the breaker is closed", metric(ops, "connector_circuit_breaker_state", *spot) == 0)
    end(server)


def black_hole(address):
    """A host at the end of a wire, who takes everything and answers nothing."""
    run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
    run("ip", "link", "set", "near", "up")
    run("ip", "link", "set", "far", "up")
    run("ip", "-6", "address", "add", "fd00::1/64", "dev", "near", "nodad")
    run("ip", "-6", "neighbour", "add", address, "lladdr", "02:00:00:00:00:02", "dev", "near")
    with socket.socket(socket.AF_INET6) as one:
        one.settimeout(1)
        try:
            one.connect((address, 80))
        except TimeoutError:
            return
    sys.exit(f"{address} is not silent")


class NameServer(threading.Thread):
    """Answers every question for an IPv4 address with 127.0.0.1; is silent about some names."""

    def __init__(self):
        super().__init__(daemon=True)
        self.silent = set()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))

    def run(self):
        while True:
            question, asker = self.socket.recvfrom(512)
            at, labels = 12, []
            while question[at]:
                labels.append(question[at + 1 : at + 1 + question[at]].decode())
                at += 1 + question[at]
            kind, end_ = struct.unpack("!H", question[at + 1 : at + 3])[0], at + 5
            if ".".join(labels) in self.silent:
                continue
            is_v4 = kind == 1
            head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, int(is_v4), 0, 0)
            answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + bytes([127, 0, 0, 1])
            self.socket.sendto(head + question[12:end_] + (answer if is_v4 else b""), asker)


def silent_name_server(simulated):
    """A name server that is silent about one exchange costs no other one, and not for long."""
    hosts()
    names = NameServer()
    names.silent.add("binance.test")
    names.start()
    url = lambda name: simulated[f"CONNECTOR_{name}_WS_URL"]
    server, ops = start_server({
        **simulated,
        "CONNECTOR_BINANCE_SPOT_WS_URL": url("BINANCE_SPOT").replace("127.0.0.1", "binance.test"),
        "CONNECTOR_BYBIT_SPOT_WS_URL": url("BYBIT_SPOT").replace("127.0.0.1", "bybit.test"),
        "CONNECTOR_PRELOAD": "binance:spot:BTCUSDT;bybit:spot:BTCUSDT",
    })
    active = lambda name: metric(ops, "connector_active_connections", f'exchange="{name}"', '"spot"')
    took = seconds_until(lambda: active("bybit") == 1, 30)
    judge("an exchange whose name is answered is up within 2 s", took < 2, f"{took:.2f} s")
    time.sleep(SILENCE)
    judge("the other one is not", active("binance") == 0 and active("bybit") == 1)
    names.silent.clear()
    took = seconds_until(lambda: active("binance") == 1, 60)
    judge(f"it is within {BACK_S} s of the name server's answer", took < BACK_S, f"{took:.2f} s")
    end(server)


def only_a_proxy():
    """No address and no name but those of a proxy; it leads to a network that is not ours."""
    ca = os.path.join(FOLDER, "ca.pem")
    simulated = start_simulator("--tls", "--tls-ca-out", ca, "--tls-name", "exchange.invalid")
    script = (
        "import socket, sys, time\n"
        "listener = socket.create_server(('127.0.0.1', 3128))\n"
        "socket.send_fds(socket.socket(fileno=0), [b'x'], [listener.fileno()])\n"
        "print('listening', flush=True)\n"
        "time.sleep(3600)\n"
    )
    ours, theirs = socket.socketpair()
    inside = "ip link set lo up && exec python3 -c \"$0\""
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", inside, script], stdin=theirs, stdout=subprocess.PIPE
    )
    processes.append(holder)
    holder.stdout.readline()
    _, [listener], _, _ = socket.recv_fds(ours, 1, 1)
    threading.Thread(target=lead, args=(socket.socket(fileno=listener),), daemon=True).start()
    away = ("nsenter", "-t", str(holder.pid), "-n")
    env = {name: url.replace("127.0.0.1", "exchange.invalid") for name, url in simulated.items()}
    env.update(HTTPS_PROXY="http://127.0.0.1:3128", CONNECTOR_PRELOAD="binance:spot:BTCUSDT")
    env["CONNECTOR_TLS_CA_FILE"] = ca
    server, ops = start_server(env, *away)
    fetch = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    get = lambda url: subprocess.check_output([*away, "python3", "-c", fetch, url], text=True)
    candles = lambda: metric(ops, "connector_quotes_processed_total", get=get)
    took = seconds_until(lambda: candles() > 0, 30)
    judge("candles come through a proxy where nothing else leads out", took < 30, f"{took:.2f} s")
    errors = metric(ops, "connector_connection_errors_total", get=get)
    judge("no connection failed", errors == 0, str(errors))
    end(server, holder)


def lead(listener):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=lead_one, args=(client,), daemon=True).start()


def lead_one(client):
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(4096)
        if not more:
            return
        head += more
    target = head.split(b" ")[1].decode()
    exchange = socket.create_connection(("127.0.0.1", int(target.rsplit(":", 1)[1])))
    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    threading.Thread(target=pump, args=(client, exchange), daemon=True).start()
    pump(exchange, client)


def pump(source, sink):
    try:
        while chunk := source.recv(65536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


# A name that is not answered is looked up again every 1.5 s.
BACK_S = 2

# Longer than a look-up is waited for, and than the resolver repeats a lost question.
SILENCE = 12


def main():
    os.makedirs(FOLDER, exist_ok=True)
    run("ip", "link", "set", "lo", "up")
    own_file("/etc/hosts", "127.0.0.1 localhost\n")
    own_file("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    own_file("/etc/nsswitch.conf", "hosts: files dns\n")
    simulated = start_simulator("--symbols-extra", str(SESSIONS))
    dead_ipv6(simulated, "an IPv6 address without a route", "2001:db8::1")
    black_hole("fd00::2")
    dead_ipv6(simulated, "an IPv6 address that is silent", "fd00::2")
    silent_name_server(simulated)
    only_a_proxy()


try:
    main()
finally:
    for one in processes:
        one.kill()
sys.exit(1 if failed else 0)
