"""The Python functions that task files name: found without importing anything, run only where that was allowed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from evalkit.errors import TaskError
from evalkit.lm_eval import yaml_files
from evalkit.lm_eval.yaml_files import Function

FLAG = "--trust-task-code"
MARK = "!function"  # key of a function among a source's settings
FAILURES = (Exception, SystemExit)  # a task's code may raise anything; only an interrupt goes through

_said: set[tuple[str, str]] = set()  # file and hash of the code that was told of, in this process


class Gate:
    """Lets functions through where the user trusts the code of tasks, and says once a file and process what it is."""

    def __init__(self, *, trusted: bool, say: Callable[[str], None]) -> None:
        self.trusted = trusted
        self.say = say

    def admit(self, function: Function, *, key: str) -> dict[str, object]:
        """Return what a source's settings keep of a function; TaskError, which begins with `key`, for a refused one."""
        if not self.trusted:
            raise TaskError(
                f"{key}: needs the Python function {function.name}, which is not run; read its file and give {FLAG} "
                "if you trust it"
            )
        path = _file(function, key=key)
        digest = sha256(path.read_bytes()).hexdigest()
        if (str(path), digest) not in _said:
            _said.add((str(path), digest))
            self.say(f"runs code of {path}, sha256 {digest}")
        return {MARK: function.name, "path": str(path), "sha256": digest}


def is_function(value: object) -> bool:
    """Whether a setting stands for a function."""
    return isinstance(value, Mapping) and MARK in value


def resolve(setting: object) -> Callable[..., Any]:  # Any: the code of a task returns what it likes
    """Import the function that a setting stands for. Raises TaskError."""
    assert isinstance(setting, Mapping)
    path, name = Path(str(setting["path"])), str(setting[MARK])
    try:
        digest = sha256(path.read_bytes()).hexdigest()
        if digest != setting["sha256"]:
            raise TaskError(f"{path}: changed since the task was read; start again")
        function: Callable[..., Any] | None = getattr(_module(path, digest), name.rpartition(".")[2], None)
    except TaskError:
        raise
    except FAILURES as error:
        raise TaskError(f"{path}: cannot be imported: {reason(error)}") from error
    if not callable(function):
        raise TaskError(f"{path}: found no function {name.rpartition('.')[2]!r}, which {name} names")
    return function


def call(
    function: Callable[..., Any], /, *given: object, shown: str, named: Mapping[Any, object] | None = None
) -> Any:  # Any: as above; keys of a file may be anything
    """Call a function of a task; TaskError, which begins with `shown`, for whatever it raises."""
    try:
        return function(*given, **(named or {}))
    except FAILURES as error:
        raise TaskError(f"{shown}: function {_name(function)} failed: {reason(error)}") from error


def call_for_documents(function: Callable[..., Any], /, *given: object, shown: str) -> Iterator[Mapping[str, object]]:
    """Yield the documents that a function of a task gives, all at once or one by one. Raises TaskError as `call`."""
    return yielded(call(function, *given, shown=shown), function=function, shown=shown)


def checked(made: object, *, function: Callable[..., Any], shown: str) -> Iterable[Any]:  # Any: looked at one by one
    """Return what a function of a task gave; TaskError, which begins with `shown`, where that holds no documents."""
    if not isinstance(made, Iterable) or isinstance(made, str | bytes | Mapping):
        kind = "nothing" if made is None else type(made).__name__
        raise TaskError(f"{shown}: function {_name(function)} returns {kind}, expected a list of documents")
    return made


def yielded(made: object, *, function: Callable[..., Any], shown: str) -> Iterator[Any]:  # Any: as above
    """Yield the documents that a function of a task gave; TaskError, which begins with `shown`, where it fails."""
    found = checked(made, function=function, shown=shown)
    try:
        yield from found
    except FAILURES as error:
        raise TaskError(f"{shown}: function {_name(function)} failed: {reason(error)}") from error


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def reason(error: BaseException) -> str:
    """Say in one line what an exception says."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _file(function: Function, *, key: str) -> Path:
    """Find the file of a function: beside the file that names it, else where Python would import it from."""
    module, _, name = function.name.rpartition(".")
    if not module:
        raise TaskError(f"{key}: found !function {name}, expected a file and a name, such as utils.process_docs")
    parts = module.split(".")
    beside = Path(function.folder, *parts).with_suffix(".py")
    if beside.is_file():
        return beside.resolve()
    spec = None if "" in parts else _spec(parts[0])
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for found in (Path(folder, *parts[1:]).with_suffix(".py"), Path(folder, *parts[1:], "__init__.py")):
            if found.is_file():
                return found.resolve()
    if spec and spec.origin and len(parts) == 1 and Path(spec.origin).is_file():
        return Path(spec.origin)
    raise TaskError(f"{key}: needs the Python function {function.name}: no such file {yaml_files.shown(beside)}")


def _spec(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except (ImportError, ValueError):  # of a module that is there but came from no file, such as __main__
        return None


@lru_cache(maxsize=256)
def _module(path: Path, digest: str) -> ModuleType:  # noqa: ARG001 - a file that changed is another module
    name = _module_name(path)
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("no Python module")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the module look themselves up here
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _module_name(path: Path) -> str:
    # Modules of lm_eval's tasks import each other by these names, and a few do so relative to their own.
    if yaml_files.is_shipped(path):
        return yaml_files.within_shipped(path).removesuffix(".py").replace("/", ".")
    return f"evalkit_task_code_{sha256(str(path).encode()).hexdigest()[:16]}"
