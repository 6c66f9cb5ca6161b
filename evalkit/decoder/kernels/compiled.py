"""Compile functions for this machine, and run them on the threads that torch computes with."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import torch

WIDE, NARROW = 16, 8  # numbers of float32 in a vector, with AVX-512 and without
OPTIMISE = 3

Run = Callable[[int, int, int], None]  # a function's address, that of its arguments, and how many threads run it


@cache
def lanes() -> int:
    """Give how many float32 numbers a vector of this machine holds; LLVM cuts them smaller where it holds fewer."""
    return WIDE if llvm.get_host_cpu_features().get("avx512f") else NARROW


class Kernel:
    """A compiled function of integers and addresses, whose threads share its work by a counter."""

    def __init__(self, module: Any, name: str) -> None:  # Any: llvmlite is untyped
        """Compile a module and take one of its functions, `void name(int64 *arguments)`."""
        _initialise()
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        target = llvm.Target.from_default_triple()
        machine = target.create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=OPTIMISE
        )
        self._engine = llvm.create_mcjit_compiler(parsed, machine)  # which owns the code that the address points to
        self._engine.finalize_object()
        self._address = self._engine.get_function_address(name)

    def run(self, arguments: Sequence[int]) -> None:
        """Run on all threads; behind the arguments the function finds a counter that begins at 0."""
        given = (ctypes.c_int64 * (len(arguments) + 1))(*arguments, 0)
        _runner()(self._address, ctypes.addressof(given), torch.get_num_threads())


@cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _runner() -> Run:
    """Take GNU's OpenMP where torch loaded it, whose threads would else wait spinning beside ours; or own threads."""
    found = getattr(ctypes.CDLL(None), "GOMP_parallel", None) if sys.platform == "linux" else None
    if found is None:
        return _run_beside
    found.argtypes, found.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return lambda function, arguments, threads: found(function, arguments, threads, 0)


def _run_beside(function: int, arguments: int, threads: int) -> None:
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function)
    others = [_pool(threads).submit(call, arguments) for _ in range(threads - 1)]
    call(arguments)
    wait(others)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
