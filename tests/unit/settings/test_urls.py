from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import SettingsError
from celeriac.settings import absolute_url, sqlite_url, sqlite_url_path
from celeriac.settings.urls import is_sqlite


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///shop.db", "/srv/app/shop.db"),
        ("sqlite:///var/shop.db", "/srv/app/var/shop.db"),
        ("sqlite:///./shop.db", "/srv/app/shop.db"),
        ("sqlite:///../shop.db", "/srv/shop.db"),
        ("sqlite:////var/lib/shop.db", "/var/lib/shop.db"),
        ("SQLite:///shop.db", "/srv/app/shop.db"),
        ("sqlite:///my%20shop.db", "/srv/app/my shop.db"),
        ("sqlite:///what%3F%23.db?synchronous=full", "/srv/app/what?#.db"),
        ("sqlite:///shop.db?synchronous=full", "/srv/app/shop.db"),
    ],
)
def test_the_file_it_means(url: str, path: str) -> None:
    assert sqlite_url_path(url, "/srv/app") == Path(path)


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("sqlite:///shop.db", "sqlite:////srv/app/shop.db"),
        ("sqlite:////var/lib/shop.db", "sqlite:////var/lib/shop.db"),
        ("sqlite:///my%20shop.db", "sqlite:////srv/app/my%20shop.db"),
        ("sqlite:///shop.db?synchronous=FULL", "sqlite:////srv/app/shop.db?synchronous=full"),
        ("redis://localhost/0", "redis://localhost/0"),
        ("sqla+sqlite:///shop.db", "sqla+sqlite:///shop.db"),
        ("", ""),
    ],
)
def test_the_printed_url(url: str, absolute: str) -> None:
    assert absolute_url(url, "/srv/app") == absolute


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_a_printed_url_means_the_same_file_from_anywhere(name: str) -> None:
    if name in (".", "..", ":memory:"):
        return
    printed = str(sqlite_url(f"sqlite:////srv/app/{_quoted(name)}", "/elsewhere"))
    assert sqlite_url(printed, "/somewhere").path == Path("/srv/app", name)


def _quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())


def test_the_options() -> None:
    assert sqlite_url("sqlite:///x.db", "/").option("synchronous") == "normal"
    assert sqlite_url("sqlite:///x.db?synchronous=Full", "/").option("synchronous") == "full"
    assert sqlite_url("sqlite:///x.db", "/").options == {}


def test_a_relative_path_starts_where_the_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_url_path("sqlite:///shop.db") == tmp_path.resolve() / "shop.db"


def test_links_are_followed_so_that_one_file_has_one_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert sqlite_url_path("sqlite:///link/shop.db", tmp_path) == sqlite_url_path("sqlite:///real/shop.db", tmp_path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "it names no file; write sqlite:///shop.db"),
        ("sqlite:///", "it names no file"),
        ("sqlite:////", "it names no file"),
        ("sqlite://shop.db", "three slashes come before a relative path: sqlite:///shop.db"),
        ("sqlite://var/shop.db", "three slashes come before a relative path: sqlite:///var/shop.db"),
        ("sqlite:///:memory:", "several processes share the store"),
        ("sqlite:///file:shop.db", "several processes share the store"),
        ("sqlite:///shop.db#1", "a '#' in the file name is written %23"),
        ("sqlite:///shop/", "is a folder; name a file in it, such as sqlite:///shop/shop.db"),
        ("sqlite:///shop.db%00", "its path means no file"),
        ("sqlite:///shop.db?synchronus=full", "unknown option 'synchronus'; did you mean 'synchronous'?"),
        ("sqlite:///shop.db?mode=ro", "unknown option 'mode'; there is: synchronous"),
        ("sqlite:///shop.db?synchronous=off", "option synchronous='off' is none of normal, full"),
        ("sqlite:///shop.db?synchronous", "option synchronous='' is none of normal, full"),
        ("sqlite:///shop.db?synchronous=full&synchronous=normal", "option 'synchronous' is given twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)) as caught:
        sqlite_url(url, "/srv/app")
    assert str(caught.value).startswith(f"setting broker_url: {url!r}: ")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{tmp_path} is a folder; name a file in it"):
        sqlite_url(f"sqlite:///{tmp_path}")


def test_the_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="setting result_backend: "):
        sqlite_url("sqlite://", setting="result_backend")


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SettingsError, match="the folder this process was started in is gone"):
        sqlite_url("sqlite:///shop.db")


def test_which_urls_are_ours() -> None:
    assert is_sqlite("sqlite:///x")
    assert not any(map(is_sqlite, ["sqla+sqlite:///x", "redis://sqlite:1", "", None, ["sqlite:///x"]]))
