"""`python -m evalkit` is `evalkit`."""

import os
import sys

# Turns for which a thread waits awake for the others at the end of an operation. GNU OpenMP's own number is larger:
# beside another busy program, threads then spend their share of the cores on waiting for one another.
AWAKE = "100000"


def main() -> int:
    """Run the command line; Ctrl-C is one line even while modules are imported."""
    try:
        from evalkit import cli

        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault("GOMP_SPINCOUNT", AWAKE)  # read when torch is imported
        return cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
