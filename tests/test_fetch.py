"""Facts about downloads, from a server on this machine that fails in the ways of servers."""

import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from jedi_sklearn.datasets import _fetch, fetch_center_out, fetch_mc_maze

pooch = pytest.importorskip("pooch")

CONTENT = np.random.default_rng(0).bytes(700_000)
QUICK = {"delay": 0, "progress": False}


class Server(ThreadingHTTPServer):
    """Serves CONTENT; notes what it is asked for, and breaks off the first few answers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.status, self.ranges = CONTENT, None, True
        self.breaks, self.told = 0, True
        self.asked = []

    def handle_error(self, *arguments):
        pass  # a client that hung up


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, content = self.server, self.server.content
        server.asked.append(self.headers.get("Range"))
        if server.status is not None:
            self.send_error(server.status)
            return
        start = 0
        if server.ranges and server.asked[-1]:
            start = int(server.asked[-1].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if server.told:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = len(content)
        if server.breaks > 0:
            server.breaks -= 1
            stop = start + _fetch.CHUNK
        self.wfile.write(content[start:stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        remote = _fetch.Remote(
            name="session.nwb",
            url=f"http://127.0.0.1:{server.server_port}/session",
            size=len(CONTENT),
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            licence="CC0-1.0",
            source="https://example.org/set",
        )
        monkeypatch.setitem(_fetch.REMOTE, "center_out", remote)
        yield server
        server.shutdown()
        thread.join()


def refused(folder, **arguments):
    """What a user reads: always the file, its size, place and licence, and where it belongs."""
    with pytest.raises(OSError) as refusal:
        fetch_center_out(data_home=folder, **({"n_retries": 0} | QUICK | arguments))
    text = str(refusal.value)
    for word in ("session.nwb", "0.7 MB", "https://example.org/set", "CC0-1.0", str(folder)):
        assert word in text
    assert not (folder / "session.nwb").exists()
    return text


def test_a_file_is_downloaded_once(server, tmp_path, monkeypatch):
    path = fetch_center_out(data_home=tmp_path / "new" / "folder", **QUICK)
    assert path == tmp_path / "new" / "folder" / "session.nwb"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["session.nwb"]
    monkeypatch.setenv("JEDI_SKLEARN_DATA", str(path.parent))
    assert fetch_center_out(**QUICK) == path
    assert fetch_center_out(download_if_missing=False) == path
    assert server.asked == [None]


@pytest.mark.parametrize("told", [True, False])
def test_a_connection_that_breaks_is_taken_up_again(server, tmp_path, told):
    server.breaks, server.told = 2, told
    path = fetch_center_out(data_home=tmp_path, **QUICK)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=262144-", "bytes=524288-"]


def test_an_interrupted_download_goes_on_in_the_next_call(server, tmp_path):
    server.breaks = 1
    text = refused(tmp_path)
    assert "broke off after 262144 bytes" in text and "call again to resume" in text
    assert fetch_center_out(data_home=tmp_path, **QUICK).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=262144-"]


def test_a_download_stopped_by_hand_goes_on_in_the_next_call(server, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    part = tmp_path / "session.nwb.part"
    with monkeypatch.context() as patch:
        patch.setattr(_fetch.os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch_center_out(data_home=tmp_path, **QUICK)
    assert [p.name for p in tmp_path.iterdir()] == [part.name]
    part.write_bytes(CONTENT[:1234])
    assert fetch_center_out(data_home=tmp_path, **QUICK).read_bytes() == CONTENT
    part.write_bytes(CONTENT)  # all is here but for the comparison of checksums
    (tmp_path / "session.nwb").unlink()
    assert fetch_center_out(data_home=tmp_path, **QUICK).read_bytes() == CONTENT
    part.write_bytes(CONTENT + b"of another")  # two wrote at a time
    (tmp_path / "session.nwb").unlink()
    assert fetch_center_out(data_home=tmp_path, **QUICK).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1234-", None]


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(server, tmp_path):
    server.breaks, server.ranges = 1, False
    assert fetch_center_out(data_home=tmp_path, **QUICK).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=262144-"]


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (503, 3)])
def test_a_server_that_refuses(server, tmp_path, status, asked):
    server.status = status
    assert str(status) in refused(tmp_path, n_retries=2)
    assert len(server.asked) == asked  # only what may pass is tried again
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there(server, tmp_path):
    server.shutdown()
    server.server_close()
    text = refused(tmp_path)
    assert "no connection to 127.0.0.1" in text and "HTTPS_PROXY" in text


@pytest.mark.parametrize("content", [b"<html>log in</html>", CONTENT + b"more"])
def test_a_file_of_another_size(server, tmp_path, content):
    server.content = content
    text = refused(tmp_path)
    assert f"offers {len(content)} bytes, not 700000" in text and "login page" in text
    assert not list(tmp_path.iterdir())


def test_a_wrong_checksum(server, tmp_path):
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    text = refused(tmp_path)
    assert "SHA256" in text and hashlib.sha256(CONTENT).hexdigest() in text
    assert not list(tmp_path.iterdir())  # or the next call would go on from it
    server.content = CONTENT
    assert fetch_center_out(data_home=tmp_path, **QUICK).read_bytes() == CONTENT


def test_a_damaged_file_is_replaced(server, tmp_path):
    path = tmp_path / "session.nwb"
    path.write_bytes(CONTENT[:100])
    with pytest.raises(OSError, match=r"100 of 700000 bytes.*CC0-1.0"):
        fetch_center_out(data_home=tmp_path, download_if_missing=False)
    assert fetch_center_out(data_home=tmp_path, **QUICK).read_bytes() == CONTENT


def test_a_missing_file_that_is_not_to_be_downloaded(server, tmp_path):
    assert "download_if_missing=False" in refused(tmp_path, download_if_missing=False)
    assert not server.asked


def test_the_bar_counts_from_what_is_here(server, tmp_path, capsys):
    pytest.importorskip("tqdm")
    (tmp_path / "session.nwb.part").write_bytes(CONTENT[:350_000])
    fetch_center_out(data_home=tmp_path, delay=0)
    shown = capsys.readouterr().err
    assert "session.nwb:  50%" in shown and "session.nwb: 100%" in shown


def test_without_tqdm_there_is_no_bar(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert fetch_center_out(data_home=tmp_path, delay=0).read_bytes() == CONTENT
    assert "%" not in capsys.readouterr().err


@pytest.mark.parametrize("session", ["small", "medium", "large"])
def test_the_records_of_public_files(session, tmp_path):
    with pytest.raises(OSError) as refusal:
        fetch_mc_maze(session, data_home=tmp_path, download_if_missing=False)
    assert f"ses-{session}" in str(refusal.value) and "CC-BY-4.0" in str(refusal.value)


def test_records_are_complete():
    for remote in _fetch.REMOTE.values():
        assert remote.url.startswith("https://") and remote.source.startswith("https://")
        assert len(remote.sha256) == 64 and int(remote.sha256, 16) and remote.size > 0
    for what in ("url", "sha256", "size", "name", "source"):
        assert len({getattr(remote, what) for remote in _fetch.REMOTE.values()}) == 4
