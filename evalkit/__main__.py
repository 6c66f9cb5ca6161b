"""`python -m evalkit` is `evalkit`."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C is one line even while modules are imported."""
    try:
        from evalkit import cli

        return cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
