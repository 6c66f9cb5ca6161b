"""Engines: the same result from this process, from several, and from a Ray cluster."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from evalkit.contamination import directory, engines, index, items, shard_scan
from evalkit.contamination.corpus import shards
from evalkit.contamination.corpus.block import Reading
from evalkit.contamination.scan import Settings, merge, prepare, scan
from evalkit.errors import StorageError, UsageError
from evalkit.interfaces import Progress
from tests.test_scan import CLEAN, COPY, contents, lines


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        object_store_memory=100 << 20,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps({"id": text[:2], "text": text}) + "\n" for text in (COPY, CLEAN)))
    return path


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(lines() * 20)
    monkeypatch.setattr(shards, "SHARD_BYTES", 2000)
    return path


def settings(examples: Path, corpus: Path, out: Path, **changed: object) -> Settings:
    return Settings(tasks=(), data=str(examples), corpus=(str(corpus),), out=out, **changed)  # type: ignore[arg-type]


def test_ray_tasks_find_what_one_process_finds(
    tmp_path: Path, examples: Path, corpus: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # tasks have a working directory of their own
    scan(settings(examples, corpus, tmp_path / "one", workers=1, is_edited=True))
    scan(settings(examples, corpus, Path("ray"), engine="ray", is_edited=True))
    assert len(list((tmp_path / "ray" / "shards").iterdir())) > 2
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")


def test_a_task_that_fails_is_one_line(tmp_path: Path, examples: Path, corpus: Path, cluster: None) -> None:
    test = index.build(items.gather((), data=str(examples)))
    [shard, *_] = shards.plan([str(corpus)])
    (tmp_path / "shared").mkdir()
    bench = engines.Bench(tmp_path / "shared", test.looked, None, on_look=lambda _: None)
    with pytest.raises(StorageError, match=r"a Ray task failed: .*No such file") as caught:
        list(engines.cluster([engines.Job(0, shard, tmp_path / "absent" / "result.npz")], bench, workers=1))
    assert "\n" not in str(caught.value)


def test_without_a_cluster_the_error_says_how_to_start_one(
    tmp_path: Path, examples: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UsageError, match="ray start --head"):
        scan(settings(examples, corpus, tmp_path / "scan", engine="ray"))


def test_merge_writes_the_report_once_all_parts_are_there(tmp_path: Path, examples: Path, corpus: Path) -> None:
    scan(settings(examples, corpus, tmp_path / "one", workers=1))
    scan(settings(examples, corpus, tmp_path / "parts", workers=1, shard=(1, 2)))
    with pytest.raises(StorageError, match="scan the parts that are missing"):
        merge(tmp_path / "parts")
    scan(settings(examples, corpus, tmp_path / "parts", workers=1, shard=(0, 2)))
    merge(tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "one")


def test_parts_are_scanned_at_the_same_time_and_not_beside_the_whole(
    tmp_path: Path, examples: Path, corpus: Path
) -> None:
    whole = settings(examples, corpus, tmp_path / "scan", workers=1)
    test, plan = prepare(whole)
    described = directory.describe(test, whole, plan)
    with directory.claim(tmp_path / "scan", described, is_part=True):
        assert scan(settings(examples, corpus, tmp_path / "scan", workers=1, shard=(0, 2))) is None
        with pytest.raises(StorageError, match="another scan is writing there"):
            scan(whole)


def test_a_shard_that_could_not_be_read_is_read_again(tmp_path: Path, examples: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(lines()))
    whole = settings(examples, path, tmp_path / "scan", workers=1)
    test, plan = prepare(whole)
    described = directory.describe(test, whole, plan)
    with directory.claim(tmp_path / "scan", described, is_part=False):
        result = directory.shard_file(tmp_path / "scan", plan[0], seen=described["identity"])
    shard_scan.save(result, shard_scan.ShardResult(nothing(test), Reading(failure="Permission denied")))
    outcome = scan(whole)
    assert outcome is not None
    assert outcome.overlaps[0].is_dirty


def nothing(test: index.Index) -> shard_scan.Hits:
    return shard_scan.search([], test.looked)


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_counts_bytes_documents_and_matches(
    tmp_path: Path, examples: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    with corpus.open("ab") as file:
        file.write(b"\n" * (3 << 20))
    monkeypatch.setattr(shards, "SHARD_BYTES", 1 << 20)
    seen: list[Progress] = []
    outcome = scan(settings(examples, corpus, tmp_path / "scan", workers=workers), on_progress=seen.append)
    assert outcome is not None
    assert seen[-1].detail == "100 documents, 40 matches"
    megabytes = corpus.stat().st_size >> 20
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, megabytes, megabytes)
