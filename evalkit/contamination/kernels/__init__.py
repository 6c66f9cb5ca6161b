"""What runs on bytes: compiled by numba, without the interpreter's lock and without a Python object a document."""

from __future__ import annotations

import contextlib
from hashlib import sha256
from pathlib import Path

STAMP = "sources.sha256"


def drop_stale_code(folder: Path) -> None:
    """Remove compiled code of other sources than those in `folder`.

    numba looks at a kernel's own file alone, and would go on with what was compiled of another file's functions before.
    """
    files = [*sorted(folder.glob("*.py")), folder.parent / "normalise.py"]  # whose constants are compiled in
    sources = sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    cache = folder / "__pycache__"
    with contextlib.suppress(OSError):  # a folder that cannot be written to: its files came all at once
        if (cache / STAMP).exists() and (cache / STAMP).read_text() == sources:
            return
        for path in (*cache.glob("*.nbi"), *cache.glob("*.nbc")):
            path.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        (cache / STAMP).write_text(sources)


drop_stale_code(Path(__file__).parent)
