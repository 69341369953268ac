"""Runs a program under a seccomp filter: a container runtime's profile, or what a systemd unit allows.

confined.py PROFILE.json PROGRAM [ARGUMENT...]
confined.py UNIT.service PROGRAM [ARGUMENT...]
"""

import ctypes
import json
import os
import subprocess
import sys

ALLOW = 0x7FFF0000
MASKED_EQUAL = 7


def refuse(errno):
    return 0x00050000 | errno


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def of_profile(path):
    """The default action, and (name, action, comparisons) of each rule."""
    with open(path) as file:
        profile = json.load(file)
    rules = []
    for rule in profile["syscalls"]:
        action = ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else refuse(rule["errnoRet"])
        arguments = rule.get("args", [])
        assert all(each["op"] == "SCMP_CMP_MASKED_EQ" for each in arguments), arguments
        compared = [Comparison(each["index"], MASKED_EQUAL, each["value"], each["valueTwo"]) for each in arguments]
        rules += [(name, action, compared) for name in rule["names"]]
    return refuse(profile["defaultErrnoRet"]), rules


def members(group):
    """The system calls in one of systemd's groups, and in those inside it."""
    listed = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = set()
    for line in listed.stdout.splitlines()[1:]:
        name = line.strip()
        if name.startswith("@"):
            names |= members(name)
        elif name and not name.startswith("#"):
            names.add(name)
    return names


def of_unit(path):
    allowed = members("@default")
    with open(path) as file:
        lines = [line.strip().partition("=")[2] for line in file if line.startswith("SystemCallFilter=")]
    for line in lines:
        named = set()
        for each in line.removeprefix("~").split():
            named |= members(each) if each.startswith("@") else {each}
        allowed = allowed - named if line.startswith("~") else allowed | named
    return refuse(1), [(name, ALLOW, []) for name in sorted(allowed)]


default, rules = of_unit(sys.argv[1]) if sys.argv[1].endswith(".service") else of_profile(sys.argv[1])
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
for name, action, compared in rules:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:
        continue  # Not of this architecture.
    array = (Comparison * max(len(compared), 1))(*compared)
    added = library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(compared), array)
    assert added == 0, (name, added)
assert library.seccomp_load(context) == 0
os.execv(sys.argv[2], sys.argv[2:])
