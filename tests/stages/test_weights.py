"""Fetching a network from a local server that misbehaves on purpose."""

from __future__ import annotations

import errno
import hashlib
import http.client
import http.server
import io
import json
import re
import shutil
import ssl
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stages import weights
from stages.cli import Reporter, StageError
from stages.lib import weights as lib
from stages.lib.weights import WeightsMissing
from stages.settings import WeightsRun, WeightsSettings

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; `server.cuts` holds how many bytes each of the next answers gives before it hangs up."""

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        server.said.append(server.terminal.getvalue())
        if self.path == "/gone":
            return self.send_error(404)
        if server.failures:
            return self.send_error(server.failures.pop(0))
        if self.path == "/linked":
            self.send_response(302)
            self.send_header("X-Linked-Etag", f'"{server.linked}"')
            self.send_header("Location", "/file")
            return self.end_headers()
        start, content = 0, server.content
        if self.headers.get("Range") and self.headers.get("If-Range") == server.etag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: server.cuts.pop(0) if server.cuts else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(weights, "FIRST_WAIT_S", 0.0)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.etag, server.asked, server.cuts, server.failures = CONTENT, '"one"', [], [], []
    server.linked, server.said, server.terminal = SHA256, [], io.StringIO()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def manifest(monkeypatch, tmp_path, server):
    """A manifest of one network `toy` whose file is on the server; returns how to run the stage on it."""
    terminal = server.terminal

    def run(sha256=SHA256, size=None, url="/file", attempts=3, folder=None, **more) -> SimpleNamespace:
        address = url if url.startswith("http") else server.url + url
        about = {"licence": "MIT", "files": {"a/net.bin": {"url": address, "sha256": sha256, "size": size}}, **more}
        (tmp_path / "weights.yaml").write_text(json.dumps({"toy": about}))
        monkeypatch.setattr(lib, "MANIFEST", tmp_path / "weights.yaml")
        settings = WeightsRun(name="toy", weights=WeightsSettings(attempts=attempts, folder=folder))
        receipt = tmp_path / "kept" / "toy" / "receipt.json"
        weights.main(receipt, settings, Reporter("weights", "toy", io.StringIO(), terminal))
        return SimpleNamespace(folder=receipt.parent, terminal=terminal.getvalue())

    return run


def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "toy" / "a" / "net.bin"


def nothing_usable(tmp_path: Path) -> None:
    assert not file(tmp_path).exists() and not (tmp_path / "kept" / "toy" / "receipt.json").exists()
    with pytest.raises(WeightsMissing, match=r"snakemake --cores 1 resources/weights/toy/receipt.json"):
        lib.find("toy", tmp_path / "kept")


def test_fetched_whole(manifest, tmp_path):
    done = manifest()
    assert file(tmp_path).read_bytes() == CONTENT and sorted(p.name for p in done.folder.rglob("*")) == [
        "a",
        "net.bin",
        "receipt.json",
    ]
    assert lib.find("toy", tmp_path / "kept") == done.folder
    assert lib.digest("toy", tmp_path / "kept") == SHA256


def test_truncated_answers_are_resumed(manifest, server, tmp_path):
    server.cuts = [100_000, 50_000]
    manifest()
    assert file(tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_run_that_gave_up_is_resumed_by_the_next(manifest, server, tmp_path):
    server.cuts = [100_000]
    with pytest.raises(StageError, match=r"could not be fetched in 1 attempts .*: it resumes"):
        manifest(attempts=1)
    nothing_usable(tmp_path)
    manifest()
    assert server.asked == [None, "bytes=100000-"] and file(tmp_path).read_bytes() == CONTENT


def test_a_changed_file_is_not_mixed_with_the_old_one(manifest, server, tmp_path):
    server.content, server.cuts = bytes(300_000), [100_000]
    with pytest.raises(StageError, match="could not be fetched"):
        manifest(attempts=1, sha256=None)
    server.content, server.etag = CONTENT, '"two"'
    manifest(sha256=None)
    assert file(tmp_path).read_bytes() == CONTENT


def test_wrong_checksum(manifest, tmp_path):
    with pytest.raises(StageError, match=r"gave another file than was meant: its sha256 is .* It was deleted"):
        manifest(sha256="0" * 64)
    nothing_usable(tmp_path)
    assert not list((tmp_path / "kept").rglob("*.part"))


def test_wrong_size(manifest, tmp_path):
    with pytest.raises(StageError, match="it has 300000 bytes, expected 5"):
        manifest(size=5)
    nothing_usable(tmp_path)


def test_the_hub_names_the_checksum_where_the_manifest_knows_none(manifest, server, tmp_path):
    server.linked = "1" * 64
    with pytest.raises(StageError, match="expected 1111"):
        manifest(url="/linked", sha256=None)
    server.linked = SHA256
    manifest(url="/linked", sha256=None)


def test_not_found_is_not_tried_again(manifest, server, tmp_path):
    with pytest.raises(StageError, match=r"answered 404 .* put net.bin into .* by hand and type `snakemake"):
        manifest(url="/gone")
    assert len(server.asked) == 1
    nothing_usable(tmp_path)


def test_a_busy_server_is_tried_again(manifest, server, tmp_path):
    server.failures = [503, 429]
    manifest()
    assert file(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLError(1, "record layer failure"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        TimeoutError("timed out"),
    ],
    ids=["ssl", "unreachable", "timeout"],
)
def test_a_connection_lost_while_reading_is_tried_again(manifest, monkeypatch, tmp_path, error):
    read, failures = http.client.HTTPResponse.read, [error]

    def failing(response, *amount):
        if failures:
            raise failures.pop()
        return read(response, *amount)

    monkeypatch.setattr(http.client.HTTPResponse, "read", failing)
    manifest()
    assert file(tmp_path).read_bytes() == CONTENT and not failures


def test_a_folder_that_cannot_be_written_is_not_tried_again(manifest, server, monkeypatch):
    def locked(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(weights, "_receive", locked)
    with pytest.raises(PermissionError):
        manifest()


@pytest.mark.parametrize("name, problem", [("net.bin", "a page of HTML"), ("config.json", "no JSON")])
def test_the_page_of_a_login_is_not_taken_for_the_file(manifest, server, tmp_path, name, problem):
    server.content = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"
    about = {f"a/{name}": {"url": f"{server.url}/file", "sha256": None, "size": None}}
    with pytest.raises(StageError, match=f"gave another file than was meant: it is {problem}. It was deleted"):
        manifest(files=about)
    assert not list((tmp_path / "kept").rglob("*.*"))


def test_offline(manifest, tmp_path):
    with pytest.raises(
        StageError, match="When this machine is online, type `snakemake --cores 1 resources/weights/toy"
    ):
        manifest(url="http://127.0.0.1:9/file", attempts=2)
    nothing_usable(tmp_path)


def test_no_disk_space(manifest, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000_001))
    with pytest.raises(StageError, match=r"no space for net.bin on the disk"):
        manifest()
    nothing_usable(tmp_path)


def test_files_already_there_are_checked_not_fetched(manifest, server, tmp_path):
    file(tmp_path).parent.mkdir(parents=True)
    file(tmp_path).write_bytes(CONTENT)
    manifest()
    assert not server.asked
    lib.find("toy", tmp_path / "kept")


def test_a_wrong_file_already_there_is_refused_and_kept(manifest, tmp_path):
    file(tmp_path).parent.mkdir(parents=True)
    file(tmp_path).write_bytes(b"mine")
    with pytest.raises(StageError, match="is not the file of toy: its sha256"):
        manifest()
    assert file(tmp_path).read_bytes() == b"mine"


def test_a_folder_of_ones_own_is_linked(manifest, server, tmp_path):
    own = tmp_path / "mine" / "toy" / "a" / "net.bin"
    own.parent.mkdir(parents=True)
    own.write_bytes(CONTENT)
    manifest(folder=str(tmp_path / "mine"))
    assert not server.asked and file(tmp_path).resolve() == own


def test_damage_after_the_receipt_is_found(manifest, tmp_path):
    manifest(sha256=None)
    file(tmp_path).write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsMissing, match="is not the file that was meant: its sha256"):
        lib.find("toy", tmp_path / "kept")


def test_without_a_receipt_an_unknown_checksum_is_not_trusted(manifest, tmp_path):
    done = manifest(sha256=None)
    (done.folder / "receipt.json").unlink()
    with pytest.raises(WeightsMissing, match="no receipt and no known sha256"):
        lib.find("toy", tmp_path / "kept")


def test_a_licence_is_said_aloud_before_a_download_only(manifest):
    assert "NOT for commercial use" in manifest(non_commercial=True).terminal
    before = manifest(non_commercial=True).terminal
    assert before.count("NOT for commercial use") == 1


def test_a_licence_is_said_aloud_before_the_first_byte_is_asked_for(manifest, server):
    server.failures = [503]
    manifest(non_commercial=True, licence="CC BY-NC 4.0")
    assert len(server.said) == 2
    for said in server.said:
        assert "licence: CC BY-NC 4.0" in said and "toy is NOT for commercial use" in said and "Ctrl-C" in said


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({"total": "300 kB"}, "fetching toy (300 kB), licence: MIT"),
        ({"total": None, "unsized": "nobody says it"}, "fetching toy (size not known before: nobody says it), licence"),
        ({}, "fetching toy (size not known before: its entry says none), licence"),
    ],
)
def test_the_size_is_said_before_a_download(manifest, about, text):
    assert text in manifest(**about).terminal


def test_unknown_network():
    with pytest.raises(WeightsMissing, match="has no entry 'nothing'; it has: clip_vit_b32"):
        lib.find("nothing")


def test_every_entry_says_what_a_user_needs():
    for name in lib.read_yaml(lib.MANIFEST):
        about = lib.entry(name)
        assert about["licence"] and about["needed_by"] and about["files"], name
        for file in about["files"].values():
            assert about.get("hub") or file.get("url") or file.get("by_hand") or about.get("trained_by"), name
        # What this repository trains is here already, and as large as the last training made it.
        if "trained_by" not in about:
            check_total(about, name)


def check_total(about: dict, name: str) -> None:
    """A size with its unit, that of its files where all are known; or the reason why there is none."""
    if about["total"] is None:
        assert about["unsized"], name
        return
    assert "unsized" not in about, name
    number, unit = re.fullmatch(r"(\d+(?:\.\d+)?) ([MG]B)", about["total"]).groups()
    total = float(number) * {"MB": 1e6, "GB": 1e9}[unit]
    sizes = [file["size"] for file in about["files"].values()]
    if None not in sizes:
        assert sum(sizes) == pytest.approx(total, rel=5e-3), name
    assert sum(size or 0 for size in sizes) <= 1.005 * total, name


def test_the_readme_lists_every_large_network_with_its_size():
    readme = (lib.ROOT / "README.md").read_text()
    totals = {name: about.get("total") or "" for name, about in lib.read_yaml(lib.MANIFEST).items()}
    large = {name: total for name, total in totals.items() if "GB" in total}
    missing = [name for name in large if f"| `resources/weights/{name}/receipt.json` | {large[name]} |" not in readme]
    assert len(large) == 7 and not missing
