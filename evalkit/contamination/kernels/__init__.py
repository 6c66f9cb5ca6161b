"""What runs on bytes: compiled by numba, without the interpreter's lock and without a Python object a document."""
