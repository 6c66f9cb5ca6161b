"""How a dataset of the Hugging Face hub is named: `hub:OWNER/NAME`, with :CONFIG, @SPLIT and @REVISION after it."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "hub:"
FORM = "hub:OWNER/NAME:CONFIG@SPLIT"
PLACE = re.compile(r"([^:@]+)(?::([^:@]+))?(?:@([^:@]+))?(?:@([^:@]+))?")
ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A dataset, and what of it is meant."""

    name: str  # an id such as allenai/c4, or a folder that is laid out like a dataset
    config: str | None
    split: str | None
    revision: str | None  # a branch, a tag or a commit

    def __str__(self) -> str:
        config = f":{self.config}" if self.config else ""
        split = f"@{self.split}" if self.split else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.name}{config}{split}{revision}"

    @property
    def is_id(self) -> bool:
        """Whether the name has the form of an id of the hub."""
        return ID.fullmatch(self.name) is not None


def parse(text: str) -> HubPlace | None:
    """Read a place, with `hub:` before it or without; None for another form."""
    found = PLACE.fullmatch(text.removeprefix(PREFIX))
    return HubPlace(*found.groups()) if found else None
