"""Becomes a program to which system calls are forbidden (EPERM), as container runtimes do.

forbid.py NUMBER[,NUMBER...] PROGRAM [ARGUMENT...]

425, 426 and 427 are io_uring_setup, io_uring_enter and io_uring_register, on every architecture.
"""

import ctypes
import os
import struct
import sys

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
EPERM, ALLOW = 0x00050001, 0x7FFF0000
numbers = [int(number) for number in sys.argv[1].split(",")]
steps = [(LOAD, 0, 0, 0)]
steps += [(EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, EPERM)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
zero = ctypes.c_ulong(0)
assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
if libc.prctl(22, ctypes.c_ulong(2), program, zero, zero) != 0:
    sys.exit("no seccomp here")
os.execvp(sys.argv[2], sys.argv[2:])
