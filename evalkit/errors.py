"""The exceptions evalkit raises, each one line: what was found, what was expected, what to do.

    EvalkitError
    ├── UsageError        a flag or a combination of flags that cannot be carried out
    ├── TaskError         a task file, a template or a setting of one
    ├── DataError         a data file: missing column, broken line, empty pool
    │   └── HubError      a dataset that the hub does not give
    ├── WindowError       a prompt that cannot fit the model's window
    ├── CheckpointError   weights, configuration or tokenizer of a model
    ├── ServerError       a server that cannot be reached, or whose answer cannot be used
    │   └── StatusError   a server that refused a request
    ├── ModelMemoryError  the device has too little memory for the batch asked for
    └── StorageError      a run directory that cannot be written or belongs to another run

Only the command line catches them: it prints the message to stderr and exits with 2.
"""


class EvalkitError(Exception):
    """Base of everything a user can mend; its text is the whole message."""


class UsageError(EvalkitError):
    """A flag or a combination of flags that cannot be carried out."""


class TaskError(EvalkitError):
    """A task file, a template or a setting of one is wrong."""


class DataError(EvalkitError):
    """A data file is missing, broken or lacks what the task needs."""


class HubError(DataError):
    """A dataset of the hub cannot be loaded."""


class WindowError(EvalkitError):
    """A prompt cannot fit the model's window."""


class CheckpointError(EvalkitError):
    """Weights, configuration or tokenizer of a model cannot be used."""


class ServerError(EvalkitError):
    """A server cannot be reached, or its answer cannot be used."""


class StatusError(ServerError):
    """A server refused a request."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ModelMemoryError(EvalkitError):
    """The device has too little memory for one batch; a smaller one may fit."""


class StorageError(EvalkitError):
    """A run directory cannot be written, or belongs to another run."""
