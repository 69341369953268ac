"""Runs a guide: every `$ command` of its ```console blocks, in order, in one shell, and compares what each
prints with the lines below it.

guide.py run GUIDE.md SCRATCH BINARIES     BINARIES: the folder of connector-wss, connector-cli, connector-sim
guide.py systemctl ARGUMENT...             what stands in for systemctl in there
guide.py supervise UNIT                    what it starts: runs a unit until it ends
guide.py old PORT...                       what stands in for the connector that is replaced
guide.py sqlite3 FILE SQL                  what stands in for sqlite3 where there is none

In the guide's output `…` stands for anything within a line, and alone on a line for any lines. A command
below which there is nothing must print nothing; where nothing else is said its exit code must be 0. Blocks
marked `console cluster` or `console host`, with "not executed by our tests" above them, are only parsed by
`bash -n`; other marks are errors.

The scratch folder stands in for the host: paths of the host become paths in it, the ports of the guide
become free ones, and `sudo`, `install`, `systemctl` and `systemd-sysusers` are stand-ins that write nowhere
else. Ends every process that was started, by its id.
"""

import ctypes
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time

PORTS = ["8765", "8766", "8767", "8768", "9001"]
FOLDERS = [
    "/usr/local/bin",
    "/etc/connector-wss",
    "/etc/systemd/system",
    "/etc/sysusers.d",
    "/var/lib/connector-wss",
    "/var/log/connector-wss",
]
# Kinds that no machine of ours can run. They must say so to the reader too.
PARSED_ONLY = ["console cluster", "console host"]
NOT_EXECUTED = "not executed by our tests"
# Any command; the end of a minute is waited for in some.
PATIENCE_S = 100
# Without these a command is left out, in words.
OPTIONAL = ["promtool", "jq"]
# What is replaced: something on both ports, which knows nothing of systemd.
OLD_UNIT = "connector-python"
OLD_SERVICE = """[Service]
Type=simple
ExecStart=/usr/bin/env python3 {me} old {ports}
"""


class Block:
    def __init__(self, kind, line, above):
        self.kind, self.line, self.above = kind, line, above
        self.commands = []  # (line, text, printed lines)


def blocks(text):
    """Every fenced block, with the last line of text above it."""
    found, block, above = [], None, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if block is None:
                block = Block(line[3:].strip(), number, above)
            else:
                found.append(block)
                block = None
        elif block is None:
            above = line or above
        elif line.startswith("$ "):
            block.commands.append((number, line[2:], []))
        elif block.commands and block.commands[-1][1].endswith("\\"):
            at, command, printed = block.commands[-1]
            block.commands[-1] = (at, command + "\n" + line, printed)
        elif block.commands:
            block.commands[-1][2].append(line)
        else:
            raise SystemExit(f"line {number}: output before any command")
    assert block is None, "a block without an end"
    return found


def fits(printed, expected):
    """Whether lines are as expected, `…` standing for anything."""
    pattern = ""
    for line in expected:
        if line == "…":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("…")) + r"\n"
    return re.fullmatch(pattern, "".join(line + "\n" for line in printed)) is not None


class Host:
    """The scratch folder, and how the guide's names and its own become each other."""

    def __init__(self, root, ports):
        self.root, self.ports = root, ports
        names = "|".join(re.escape(folder) for folder in FOLDERS)
        self.folder = re.compile(rf"(?<![\w./-])({names})(?![\w.])")
        self.port = re.compile(rf"(?<!\d)({'|'.join(ports)})(?!\d)")
        back = {port: name for name, port in ports.items()}
        self.own_port = re.compile(rf"(?<!\d)({'|'.join(back)})(?!\d)")
        self.back = back

    def own(self, text, with_ports=True):
        text = self.folder.sub(lambda m: self.root + m[1], text)
        return self.port.sub(lambda m: self.ports[m[1]], text) if with_ports else text

    def guides(self, text):
        text = text.replace(self.root, "")
        return self.own_port.sub(lambda m: self.back[m[1]], text)

    @staticmethod
    def of_environment():
        return Host(os.environ["GUIDE_ROOT"], json.loads(os.environ["GUIDE_PORTS"]))

    def path(self, *parts):
        return os.path.join(self.root, *parts)


def free_ports(names):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: str(each.getsockname()[1]) for name, each in zip(names, sockets)}
    for each in sockets:
        each.close()
    return ports


# --- The stand-in for systemctl: it reads the unit as it was installed, and does of it what a guide needs.


def unit_of(host, name):
    name = name.removesuffix(".service")
    path = host.path("etc/systemd/system", name + ".service")
    if not os.path.exists(path):
        raise SystemExit(f"Unit {name}.service not found.")
    settings = {}
    with open(path) as file:
        for line in file:
            key, equals, value = line.strip().partition("=")
            if equals and not line.startswith("#"):
                settings.setdefault(key, []).append(host.own(value, with_ports=False))
    return name, settings


def state(host, name):
    """What `supervise` has written about a unit: pid, whether it is ready, exit code."""
    try:
        with open(host.path("run", name)) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def supervise(name):
    host = Host.of_environment()
    name, settings = unit_of(host, name)
    path = host.path("run", name)

    def tell(**said):
        with open(path + ".new", "w") as file:
            json.dump(said, file)
        os.rename(path + ".new", path)

    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LC_ALL")}
    for line in settings.get("Environment", []):
        environment |= dict(pair.split("=", 1) for pair in line.split())
    for key, base in ("StateDirectory", "var/lib"), ("LogsDirectory", "var/log"):
        for folder in settings.get(key, []):
            os.makedirs(host.path(base, folder), exist_ok=True)
    # Named by way of this process: the address of such a socket must be short.
    os.chdir(host.path("run"))
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(f"notices-{os.getpid()}")
    is_notifying = settings.get("Type") == ["notify"]
    if is_notifying:
        environment["NOTIFY_SOCKET"] = f"/proc/{os.getpid()}/cwd/notices-{os.getpid()}"
        environment["WATCHDOG_USEC"] = str(int(settings["WatchdogSec"][0]) * 1_000_000)
    command = shlex.split(settings["ExecStart"][0])
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=settings.get("WorkingDirectory", [host.root])[0],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    said = {"pid": process.pid, "ready": not is_notifying, "code": None}
    tell(**said)
    while process.poll() is None:
        if select.select([notices], [], [], 0.05)[0] and b"READY=1" in notices.recv(4096):
            said["ready"] = True
            tell(**said)
    said.update(code=process.returncode)
    tell(**said)


def wait(host, name, is_done, seconds):
    end = time.monotonic() + seconds
    while not is_done(state(host, name)):
        if time.monotonic() > end:
            raise SystemExit(f"{name}: not in time")
        time.sleep(0.05)


def start(host, name, settings):
    if os.path.exists(host.path("run", name)):
        os.remove(host.path("run", name))
    subprocess.Popen(
        [sys.executable, __file__, "supervise", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    seconds = int(settings.get("TimeoutStartSec", ["30"])[0])
    wait(host, name, lambda now: now.get("ready") or now.get("code") is not None, seconds)
    if state(host, name)["code"] is not None:
        raise SystemExit(f"Job for {name}.service failed because the control process exited with error code.")


def stop(host, name, settings):
    now = state(host, name)
    if now.get("pid") and now["code"] is None:
        os.kill(now["pid"], signal.SIGTERM)
        wait(host, name, lambda now: now["code"] is not None, int(settings.get("TimeoutStopSec", ["30"])[0]))


def systemctl(arguments):
    host = Host.of_environment()
    flags = [each for each in arguments if each.startswith("-")]
    verb, *names = [each for each in arguments if not each.startswith("-")]
    if verb == "daemon-reload":
        return
    if verb == "show" and flags == ["-p", "--value"] and names[0] == "MainPID":
        now = state(host, names[1])
        return print(now["pid"] if now.get("code", 0) is None else 0)
    is_now = "--now" in flags
    assert set(flags) <= {"--now"}, flags
    for each in names:
        name, settings = unit_of(host, each)
        if verb in ("stop", "restart") or (verb == "disable" and is_now):
            stop(host, name, settings)
        if verb in ("start", "restart") or (verb == "enable" and is_now):
            start(host, name, settings)
        if verb == "is-active":
            is_active = state(host, name).get("code", 0) is None
            print("active" if is_active else "inactive")
            sys.exit(0 if is_active else 3)
        if verb == "reload":
            os.kill(state(host, name)["pid"], signal.SIGHUP)
        assert verb in ("start", "stop", "restart", "reload", "enable", "disable"), verb


def sqlite(file, statement):
    for row in sqlite3.connect(file, isolation_level=None).execute(statement):
        print(*row, sep="|")


STAND_INS = {
    "sudo": 'exec "$@"',
    "systemctl": 'exec "{python}" "{me}" systemctl "$@"',
    # Users and groups of the host are not this machine's.
    "install": """
given=()
while [ $# -gt 0 ]; do
  case $1 in -g | -o) shift 2 ;; *) given+=("$1"); shift ;; esac
done
exec {install} "${{given[@]}}" """,
    "systemd-sysusers": """
[ -z "{sysusers}" ] || exec "{sysusers}" --root="$GUIDE_ROOT" """,
}


# --- The run.


class Shell:
    """One bash, in which commands follow each other as they would under somebody's fingers."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.answers, theirs = os.pipe()
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=os.path.join(folder, "work"),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs],
        )
        os.close(theirs)
        self.theirs = theirs

    def run(self, command):
        """Exit code, or None if it takes too long, and what was printed."""
        script, output = os.path.join(self.folder, "command"), os.path.join(self.folder, "output")
        with open(script, "w") as file:
            file.write(command + "\n")
        line = f". '{script}' >'{output}' 2>&1 </dev/null {self.theirs}>&-; echo $? >&{self.theirs}\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        code = None
        if select.select([self.answers], [], [], PATIENCE_S)[0]:
            code = int(os.read(self.answers, 16))
        with open(output, errors="replace") as file:
            return code, re.sub(r"\x1b\[[0-9;]*m", "", file.read())


def prepare(scratch, binaries, host):
    """The host as it was before, the stand-ins, and the folder in which the guide is followed."""
    repository = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for folder in ["work/target/release", "bin"]:
        os.makedirs(os.path.join(scratch, folder))
    for folder in [*FOLDERS, "/run", "/etc", "/home"]:
        os.makedirs(host.path(folder.lstrip("/")), exist_ok=True)
    for folder in ["etc/connector-wss", "var/lib/connector-wss", "var/log/connector-wss"]:
        os.rmdir(host.path(folder))
    for name in ["connector-wss", "connector-cli", "connector-sim"]:
        os.symlink(os.path.join(binaries, name), os.path.join(scratch, "work/target/release", name))
    for name in ["tuning", "tests"]:
        os.symlink(os.path.join(repository, name), os.path.join(scratch, "work", name))
    with open(os.path.join(repository, ".env.example")) as file:
        variables = host.own(file.read())
    with open(os.path.join(scratch, "work/.env.example"), "w") as file:
        file.write(variables)
    with open(host.path("etc/systemd/system", OLD_UNIT + ".service"), "w") as file:
        ports = f'{host.ports["8765"]} {host.ports["8766"]}'
        file.write(OLD_SERVICE.format(me=shlex.quote(os.path.abspath(__file__)), ports=ports))
    stand_ins = dict(STAND_INS)
    if not shutil.which("sqlite3"):
        stand_ins["sqlite3"] = 'exec "{python}" "{me}" sqlite3 "$@"'
    for name, body in stand_ins.items():
        body = body.format(
            python=sys.executable,
            me=os.path.abspath(__file__),
            install=shutil.which("install"),
            sysusers=shutil.which("systemd-sysusers") or "",
        )
        path = os.path.join(scratch, "bin", name)
        with open(path, "w") as file:
            file.write("#!/usr/bin/env bash\n" + body + "\n")
        os.chmod(path, 0o755)


def parse_only(block):
    """Why a block that is not run is wrong, if it is."""
    wrong = []
    if NOT_EXECUTED not in block.above:
        wrong.append(f"line {block.line}: `{block.kind}` without {NOT_EXECUTED!r} above it")
    for line, command, _ in block.commands:
        parsed = subprocess.run(["bash", "-n"], input=command, text=True, capture_output=True)
        if parsed.returncode != 0:
            wrong.append(f"line {line}: {parsed.stderr.strip()}")
    return wrong


def missing_tool(command):
    named = [tool for tool in OPTIONAL if re.search(rf"(?<![\w/-]){tool}(?![\w.-])", command)]
    if "confined.py" in command:
        try:
            ctypes.CDLL("libseccomp.so.2")
        except OSError:
            return "libseccomp"
    return next((tool for tool in named if not shutil.which(tool)), None)


def run(guide, scratch, binaries):
    with open(guide) as file:
        found = blocks(file.read())
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    scratch = os.path.realpath(scratch)
    host = Host(os.path.join(scratch, "host"), free_ports(PORTS))
    prepare(scratch, os.path.abspath(binaries), host)
    path = os.environ["PATH"]
    environment = {
        "PATH": os.path.join(scratch, "bin") + ":" + path,
        "HOME": host.path("home"),
        "LC_ALL": "C.UTF-8",
        "GUIDE_ROOT": host.root,
        "GUIDE_PORTS": json.dumps(host.ports),
        # The stand-ins write no folder of caches beside this file.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    os.environ.update(environment)
    # What is left behind by its parent becomes a child of this process, which ends it.
    ctypes.CDLL(None, use_errno=True).prctl(36, ctypes.c_ulong(1), 0, 0, 0)
    shell = Shell(scratch, environment)
    executed = stood_in = parsed = commands = 0
    left_out, wrong = [], []
    has_old = False
    for block in found:
        if block.kind in PARSED_ONLY:
            wrong += parse_only(block)
            parsed += 1
            continue
        if block.kind != "console" or not block.commands:
            wrong.append(f"line {block.line}: ```{block.kind} is no kind of block that is known")
            continue
        if not has_old and any(OLD_UNIT in command for _, command, _ in block.commands):
            has_old = True
            systemctl(["start", OLD_UNIT])
        executed += 1
        stood_in += any(re.search(r"(?<![\w/-])sudo ", command) for _, command, _ in block.commands)
        for line, command, expected in block.commands:
            tool = missing_tool(command)
            if tool:
                left_out.append(f"line {line}: {tool} is not there")
                continue
            began = time.monotonic()
            code, output = shell.run(host.own(command))
            took = time.monotonic() - began
            printed = host.guides(output).splitlines()
            commands += 1
            if "GUIDE_VERBOSE" in os.environ:
                print(f"{line}: {command} [{code}, {took:.1f} s]", *printed, sep="\n    ", flush=True)
            is_judged_by_output = any(each != "…" for each in expected)
            if code is None or not fits(printed, expected) or (code != 0 and not is_judged_by_output):
                lost = "not in time" if code is None else f"exit code {code}"
                wrong.append(
                    f"line {line}: $ {command} ({lost})\n  expected:\n"
                    + "".join(f"    {each}\n" for each in expected)
                    + "  printed:\n"
                    + "".join(f"    {each}\n" for each in printed[-20:])
                )
            if code is None:
                wrong.append("what follows was not run")
                break
        if wrong and wrong[-1] == "what follows was not run":
            break
    shell.process.stdin.close()
    end_children()
    for each in left_out:
        print(f"left out: {each}")
    print(*wrong, sep="\n")
    print(
        f"blocks: {executed} executed with {commands} commands ({stood_in} with stand-ins for sudo, systemctl "
        f"and install), {parsed} only parsed (bash -n): they need a cluster or a real host"
    )
    sys.exit(bool(wrong))


def end_children():
    """Ends every process that was started here, also those whose parents are gone."""
    me = os.getpid()
    for how in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with open(f"/proc/self/task/{me}/children") as file:
                children = [int(pid) for pid in file.read().split()]
            if not children:
                return
            for pid in children:
                os.kill(pid, how)
            time.sleep(0.1)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "run":
        run(*arguments)
    elif what == "systemctl":
        systemctl(arguments)
    elif what == "sqlite3":
        sqlite(*arguments)
    elif what == "supervise":
        supervise(*arguments)
    else:
        assert what == "old", what
        listening = [socket.create_server(("127.0.0.1", int(port))) for port in arguments]
        signal.pause()
