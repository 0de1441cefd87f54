"""Downloads from servers that cut, stall, corrupt, forget ranges, or are gone."""

import hashlib
import logging
import multiprocessing
import os
import socket

import numpy as np
import pytest
from served import serving

from soteacher.core.errors import UserError, short
from soteacher.data import download
from soteacher.data.archives import Archive
from soteacher.data.download import fetch

CONTENT = np.random.default_rng(0).bytes(1_000_003)
SIZE = len(CONTENT)
ARCHIVE = Archive("data.bin", "http://nowhere.invalid", SIZE, hashlib.md5(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)


@pytest.fixture
def server():
    with serving(CONTENT) as known:
        yield known


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "downloads"


def part_of(folder, content):
    """What an earlier, interrupted download left."""
    folder.mkdir(exist_ok=True)
    part = folder / "data.bin.part"
    part.write_bytes(content)
    return part


def check_whole(folder):
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert not (folder / "data.bin.part").exists()


def refusal(url, folder):
    """The one line with which a download is refused; nothing has the file's name then."""
    with pytest.raises(UserError) as caught:
        fetch(ARCHIVE, url, folder)
    text = str(caught.value)
    assert "\n" not in text
    assert not (folder / "data.bin").exists()
    return text


# what is whole


def test_a_file_is_downloaded_in_one_request_and_then_never_again(server, folder):
    assert fetch(ARCHIVE, server.url, folder) == folder / "data.bin"
    check_whole(folder)
    assert server.ranges == [None]
    fetch(ARCHIVE, server.url, folder)
    assert server.requests == 1


def test_a_file_that_is_there_needs_no_server(folder):
    folder.mkdir()
    (folder / "data.bin").write_bytes(CONTENT)
    fetch(ARCHIVE, "http://nowhere.invalid/data.bin", folder)


def test_a_file_that_was_changed_since_is_fetched_anew(server, folder):
    folder.mkdir()
    (folder / "data.bin").write_bytes(CONTENT[:-1] + b"x")
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_followed(server, folder, code):
    server.answers = [("redirect", server.url.replace("data", "moved"))]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.paths == ["/data.bin", "/moved.bin"]


def test_a_file_of_this_machine_is_a_mirror_too(tmp_path, folder):
    (tmp_path / "a mirror.bin").write_bytes(CONTENT)
    part_of(folder, CONTENT[:1000])
    fetch(ARCHIVE, (tmp_path / "a mirror.bin").as_uri(), folder)
    check_whole(folder)


def test_a_server_need_not_tell_a_length(server, folder):
    server.answers = [("unmeasured",)]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)


def test_progress_is_told_in_mb_rate_and_time_left(server, folder, monkeypatch, caplog):
    monkeypatch.setattr(download, "PROGRESS_SECONDS", 1e-9)
    monkeypatch.setattr(download, "CHUNK", 250_000)
    with caplog.at_level(logging.INFO):
        fetch(ARCHIVE, server.url, folder)
    said = [line for line in caplog.messages if "MB/s" in line]
    assert caplog.messages[0] == f"data.bin: downloading 1.0 MB from {server.url}"
    assert len(said) >= 4
    assert said[-1].startswith("data.bin: 1.0 of 1.0 MB, ")
    assert said[-1].endswith(" MB/s, 0:00:00 left")


def test_progress_is_not_told_with_every_chunk(server, folder, caplog):
    with caplog.at_level(logging.INFO):
        fetch(ARCHIVE, server.url, folder)
    assert len(caplog.messages) == 1


# going on


def test_an_earlier_part_is_gone_on_with(server, folder):
    part_of(folder, CONTENT[:400_000])
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges == ["bytes=400000-"]


def test_a_connection_that_is_cut_is_gone_on_with(server, folder):
    server.answers = [("cut", 300_000), ("cut", 200_000)]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_as_many_cuts_as_you_like_are_gone_on_from_while_bytes_come(server, folder):
    server.answers = [("cut", 50_000)] * 15
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.requests == 16


def test_a_stall_is_given_up_and_gone_on_from(server, folder, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    server.answers = [("stall", 300_000), ("silent",)]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges == [None, "bytes=300000-", "bytes=300000-"]


def test_errors_of_the_server_that_pass_are_waited_out(server, folder):
    server.answers = [("error", 503), ("error", 500), ("error", 429)]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)


def test_a_part_that_is_complete_only_takes_its_name(server, folder):
    part_of(folder, CONTENT)
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.requests == 0


def test_a_part_that_is_too_long_is_begun_anew(server, folder):
    part_of(folder, CONTENT + b"x")
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges == [None]


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server, folder):
    part_of(folder, CONTENT[:400_000])
    server.answers = [("whole",)]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)


@pytest.mark.parametrize(
    ("start", "stated"),
    [
        (0, f"bytes 0-{SIZE - 1}/{SIZE}"),
        (500_000, f"bytes 500000-{SIZE - 1}/{SIZE}"),
        (400_000, f"bytes 400000-{SIZE}/{SIZE + 1}"),
        (400_000, "octets 400000-"),
        (400_000, ""),
    ],
    ids=["from 0", "from elsewhere", "of another file", "unreadable", "none"],
)
def test_another_range_than_was_asked_for_is_not_put_behind_the_part(server, folder, start, stated):
    part_of(folder, CONTENT[:400_000])
    server.answers = [("partial", start, stated)]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges == ["bytes=400000-", None]


def test_a_range_of_a_file_of_untold_size_is_taken(server, folder):
    part_of(folder, CONTENT[:400_000])
    server.answers = [("partial", 400_000, f"bytes 400000-{SIZE - 1}/*")]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.requests == 1


def test_a_server_that_refuses_the_range_is_asked_for_all(server, folder):
    part_of(folder, CONTENT[:400_000])
    server.answers = [("error", 416)]
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges == ["bytes=400000-", None]


# what fails


def test_a_server_that_always_cuts_at_one_place_is_given_up_and_the_part_kept(server, folder):
    server.answers = [("whole_but", 300_000)] * 20
    text = refusal(server.url, folder)
    assert text.startswith(
        f"cannot download data.bin from {server.url}: the connection ended after 300000 of {SIZE} "
        f"bytes ({download.TRIES} times); 300000 of {SIZE} bytes are kept in {folder}/data.bin.part"
    )
    assert text.endswith(
        "try again, set `url` to a mirror of the same file, or set `path` to a local copy"
    )
    assert server.requests == download.TRIES + 1
    server.answers = []
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges[-1] == "bytes=300000-"


def test_a_server_that_stalls_for_good_is_given_up(server, folder, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.1)
    server.answers = [("silent",)] * 20
    assert "the server sent nothing for 0.1 seconds (4 times); try again" in refusal(
        server.url, folder
    )


@pytest.mark.parametrize("code", [403, 404, 410])
def test_an_answer_that_will_not_change_is_told_at_once(server, folder, code):
    part_of(folder, CONTENT[:10])
    server.answers = [("error", code)]
    text = refusal(server.url, folder)
    assert f"the server answered {code} " in text
    assert f"10 of {SIZE} bytes are kept in {folder}/data.bin.part; try again, set `url`" in text
    assert server.requests == 1


def test_a_server_in_trouble_is_given_up(server, folder):
    server.answers = [("error", 500)] * 20
    text = refusal(server.url, folder)
    assert "the server answered 500 Internal Server Error (4 times); try again" in text


def test_a_server_that_is_gone_is_told(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = refusal(f"http://127.0.0.1:{port}/data.bin", folder)
    assert "Connection refused (4 times)" in text


def test_a_host_that_nobody_knows_is_told(folder):
    text = refusal("http://nowhere.invalid/data.bin", folder)
    assert text.startswith("cannot download data.bin from http://nowhere.invalid/data.bin: ")
    assert "(4 times)" in text and "set `url`" in text


@pytest.mark.parametrize("n", [-1000, 1000])
def test_a_file_of_another_size_is_refused_before_it_is_downloaded(server, folder, n):
    other = CONTENT[:n] if n < 0 else CONTENT + bytes(n)
    part_of(folder, CONTENT[:10])
    server.answers = [("other", other), ("other", other)]
    text = refusal(server.url, folder)
    assert f"the server's file has {SIZE + n} bytes, expected {SIZE}" in text
    assert (folder / "data.bin.part").read_bytes() == CONTENT[:10]
    assert server.requests == 1


def test_a_file_that_turns_out_longer_is_refused_and_not_kept(server, folder):
    server.content = CONTENT + b"x"
    server.answers = [("unmeasured",)]
    assert f"the server sent more than {SIZE} bytes: it is another file" in refusal(
        server.url, folder
    )
    assert not (folder / "data.bin.part").exists()


def test_a_web_page_in_place_of_the_file_is_refused_and_not_kept(server, folder):
    server.answers = [("page",)]
    assert "the answer is a web page; try again, set `url`" in refusal(server.url, folder)
    assert not (folder / "data.bin.part").exists()


def test_wrong_bytes_are_told_deleted_and_not_gone_on_with(server, folder):
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    server.answers = [("other", wrong)]
    text = refusal(server.url, folder)
    found = hashlib.md5(wrong).hexdigest()
    assert text.startswith(f"{server.url} sent a file that is not data.bin: its md5 is {found}, ")
    assert ARCHIVE.md5 in text and "set `url`" in text and "`path`" in text
    assert not (folder / "data.bin.part").exists()
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges == [None, None]


def test_a_full_disk_is_told_and_what_was_received_stays(server, folder):
    folder.mkdir()
    part = folder / "data.bin.part"
    part.symlink_to("/dev/full")
    text = refusal(server.url, folder)
    assert text.startswith(f"cannot write {part}: No space left on device; free disk space")
    part.unlink()
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)


def test_a_disk_that_fills_up_keeps_the_part(server, folder):
    """A process may write no file beyond a limit: what a quota does."""

    def limited():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        try:
            fetch(ARCHIVE, server.url, folder)
        except UserError as error:
            assert f"500000 of {SIZE} bytes are kept in {folder}/data.bin.part; free" in str(error)
            os._exit(7)

    child = multiprocessing.get_context("fork").Process(target=limited)
    child.start()
    child.join()
    assert child.exitcode == 7
    fetch(ARCHIVE, server.url, folder)
    check_whole(folder)
    assert server.ranges == [None, "bytes=500000-"]


def test_a_mirror_on_this_machine_that_is_not_there_is_told_at_once(tmp_path, folder):
    text = refusal((tmp_path / "no.bin").as_uri(), folder)
    assert "No such file or directory; try again, set `url`" in text


@pytest.mark.parametrize(
    "url", ["ftp://host/data.bin", "data.bin", "/data.bin", "data:,x", "", "http://a b", "http:\n"]
)
def test_addresses_that_are_neither_of_the_web_nor_of_files_are_refused(folder, url):
    assert refusal(url, folder) == (
        f"cannot download data.bin from {url!r}: expected an address that begins with http://, "
        "https:// or file:// and has no spaces; correct `url`"
    )
    assert not folder.exists()


@pytest.mark.parametrize("url", ["http://[bad/x", "http://host:port/", "http:///x", "http://a\x01"])
def test_addresses_that_lead_nowhere_are_refused(folder, url):
    assert refusal(url, folder).startswith(f"cannot download data.bin from {short(url)}: ")


# one at a time


def test_of_two_processes_one_downloads_and_the_other_waits_for_it(server, folder, monkeypatch):
    server.answers = [("cut", 300_000)]
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.5)
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=fetch, args=(ARCHIVE, server.url, folder)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    check_whole(folder)
    assert server.ranges == [None, "bytes=300000-"]
