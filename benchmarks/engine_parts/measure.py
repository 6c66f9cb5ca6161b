"""Run one command from a small process and write its seconds, peak memory and exit status to a file, as JSON.

    python benchmarks/engine_parts/measure.py RESULT.json LOG.txt COMMAND...

A process begins with the peak memory of the one that started it, so a benchmark that has loaded models cannot start
what it measures itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Run and measure."""
    result, log, *command = sys.argv[1:]
    mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    outputs = [(os.POSIX_SPAWN_OPEN, 1, log, mode, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)]
    begin = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ, file_actions=outputs)
    _, status, usage = os.wait4(child, 0)
    found = {
        "seconds": time.perf_counter() - begin,
        "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),  # bytes
        "status": os.waitstatus_to_exitcode(status),
    }
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
