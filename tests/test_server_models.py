"""Which models a server has, and what it tells of one: name, window, fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evalkit.errors import ServerError, UsageError
from evalkit.models.load import find, load
from tests.completions_server import LISTED, Answer, serving

Behaviour = Callable[[str, dict[str, Any]], Answer]


@pytest.mark.parametrize("name", ["server:", "hf:", "server: ", "hf:  "])
def test_a_prefix_needs_something_behind_it(name: str) -> None:
    with pytest.raises(UsageError, match="nothing behind it"):
        load(name)


@pytest.mark.parametrize("name", ["server:http://host", "hf:gpt2"])
def test_only_the_decoders_own_models_have_a_folder(name: str) -> None:
    with pytest.raises(UsageError, match="does not run in evalkit's own decoder"):
        find(name)


@pytest.mark.parametrize("flag", ["device", "dtype"])
def test_the_server_decides_on_device_and_dtype(flag: str) -> None:
    with pytest.raises(UsageError, match=f"--{flag}"):
        load("server:http://127.0.0.1:9", **{flag: "cpu"})


def listing(*models: object) -> Behaviour:
    return lambda *_: (200, {"object": "list", "data": list(models)})


def test_of_several_models_one_has_to_be_named() -> None:
    with serving(listing({"id": "one"}, {"id": "two"})) as url:
        with pytest.raises(UsageError, match=r"none is named.*serves one, two"):
            load(f"server:{url}")
        assert load(f"server:{url}/v1#two").name == "two"


def test_a_model_that_is_not_served_is_told() -> None:
    with serving(listing({"id": "one"})) as url, pytest.raises(UsageError, match=r"'two' is asked for.*serves one"):
        load(f"server:{url}#two")


@pytest.mark.parametrize("models", [None, 3, ["one"], [{"name": "one"}]])
def test_a_list_of_models_that_is_none_is_told(models: object) -> None:
    with serving(lambda *_: (200, {"data": models})) as url, pytest.raises(ServerError, match="a list of models"):
        load(f"server:{url}")


def test_the_window_leaves_what_the_server_needs() -> None:
    with serving(listing({"id": "one", "max_model_len": 64})) as url:
        assert load(f"server:{url}").window == 62
        assert load(f"server:{url}", window=20).window == 20
        with pytest.raises(UsageError, match="expected 2 to 62"):
            load(f"server:{url}", window=64)


@pytest.mark.parametrize("told", [{}, {"max_model_len": None}])
def test_a_server_that_tells_no_window_has_2048(told: dict[str, object]) -> None:
    with serving(listing({"id": "one"} | told)) as url:
        assert load(f"server:{url}").window == 2048


@pytest.mark.parametrize("told", ["64", -1, 0, 3, 64.0, True, [64]])
def test_a_window_that_is_none_is_told(told: object) -> None:
    with (
        serving(listing({"id": "one", "max_model_len": told})) as url,
        pytest.raises(ServerError, match="expected a whole number above 3"),
    ):
        load(f"server:{url}")


def test_the_fingerprint_is_of_the_model_and_not_of_the_servers_start() -> None:
    later = LISTED | {"created": 1, "permission": [{"id": "modelperm-2"}]}
    listed = iter([LISTED, later, LISTED | {"root": "/models/other"}, LISTED | {"id": "other"}])
    with serving(lambda *_: (200, {"data": [next(listed)]})) as url:
        found = [load(f"server:{url}").fingerprint for _ in range(4)]
    assert [found.index(each) for each in found] == [0, 0, 2, 3]


def test_servers_of_one_name_have_fingerprints_of_their_own() -> None:
    with serving(listing(LISTED)) as one, serving(listing(LISTED)) as other:
        assert load(f"server:{one}").fingerprint == load(f"server:{one}/v1").fingerprint
        assert load(f"server:{one}").fingerprint != load(f"server:{other}").fingerprint
