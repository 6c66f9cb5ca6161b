"""Two hundred participants at once."""

import asyncio
from pathlib import Path

from benchmarks.study_load import take
from evalkit.articles import answers, directory
from tests import studies

PARTICIPANTS = 200
ARTICLES = 3
SECONDS = 60  # on a machine that does other things as well; some five otherwise


def test_two_hundred_participants_at_once_all_finish_without_an_error(tmp_path: Path) -> None:
    directory.save(studies.study(ARTICLES), tmp_path)
    with studies.serving(tmp_path) as served:
        asyncio.run(asyncio.wait_for(take(served.port, participants=PARTICIPANTS), SECONDS))
    found = answers.load(tmp_path)
    assert len(found) == PARTICIPANTS
    assert all(each.has_finished and each.has_attended and len(each.answers) == ARTICLES for each in found)
