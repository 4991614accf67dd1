"""Stage weights: one public network of config/weights.yaml fetched, checked, and listed in a receipt.

Each file is taken, in this order, from where it already lies, from the user's own folder (`weights.folder`, linked,
never copied), or from the network: into `<file>.part`, resumed after an interruption, renamed when size and sha256
hold. The receipt is written last, so that a partial download never passes for a whole one. Downloads are bytes on
disk: nothing of them is executed or unpickled here.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.lib.weights import RECEIPT, WeightsMissing, entry, fetch_command, mismatch, sha256
from stages.settings import WeightsRun

HUB = "https://huggingface.co/{hub}/resolve/{revision}/{file}"
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0
# Waits between attempts double from here: a restarted router is back within the default attempts' 15 s or so.
FIRST_WAIT_S = 1.0
# Left free on the disk, so that the machine stays usable after a download.
SPARE_BYTES = 100_000_000
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CONNECTION_LOST = (
    urllib.error.URLError,
    http.client.HTTPException,
    ssl.SSLError,
    TimeoutError,
    ConnectionError,
)
# What a read on an open connection meets when the network goes away.
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.EHOSTDOWN)
# The hub names the sha256 of a large file in this header of its first answer, before the redirection.
LINKED_ETAG = "X-Linked-Etag"


def main(out: Path, settings: WeightsRun, report: Reporter) -> None:
    """Fetch the network `settings.name` into the folder of the receipt `out`."""
    try:
        about = entry(settings.name)
    except WeightsMissing as error:
        raise StageError(str(error)) from None
    if out.name != RECEIPT:
        raise StageError(f"--out is {out}; expected a path that ends in {RECEIPT}.")
    own = Path(settings.weights.folder) / settings.name if settings.weights.folder else None
    if own is not None and not own.is_dir():
        own = None
        report.say(f"weights.folder has no folder {settings.name}; taking the files from the network")
    files = fetch(settings.name, about, out.parent, own, settings.weights.attempts, report)
    with replacing(out) as temporary:
        content = {"name": settings.name, "licence": about["licence"], "files": files}
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    report.say(f"{settings.name} is whole: {len(files)} files, {sum(f['size'] for f in files.values())} bytes")


def fetch(name: str, about: dict, place: Path, own: Path | None, attempts: int, report: Reporter) -> dict[str, dict]:
    """Bring every file of a manifest's entry to `place`; returns size, sha256 and origin of each.

    Raises StageError for a file that cannot be had or is not the one the manifest means.
    """
    files, announced = {}, False
    for done, (file, expected) in enumerate(about["files"].items(), start=1):
        path, origin = place / file, "in place"
        if not path.exists() and own is not None and (own / file).is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to((own / file).resolve())
            origin = f"linked to {own / file}"
        if path.exists():
            problem = mismatch(path, expected)
            if problem:
                raise StageError(
                    f"{path} is not the file of {name}: {problem}. Delete it and type `{fetch_command(name)}`."
                )
        else:
            if not announced:
                _announce(name, about, report)
                announced = True
            origin = _url(name, about, file, expected)
            download(origin, path, expected, attempts, fetch_command(name), report)
        files[file] = {"size": path.stat().st_size, "sha256": sha256(path), "origin": origin}
        report.say(f"{file}: {files[file]}")
        report.progress(done, len(about["files"]))
    return files


def _announce(name: str, about: dict, report: Reporter) -> None:
    size = about.get("total") or f"size not known before: {about.get('unsized', 'its entry says none')}"
    report.announce(f"fetching {name} ({size}), licence: {about['licence']}")
    if about.get("non_commercial"):
        report.announce(
            f"{name} is NOT for commercial use: its licence binds what you make with it. Stop now (Ctrl-C) if that "
            "does not suit you."
        )


def _url(name: str, about: dict, file: str, expected: dict) -> str:
    if expected.get("url"):
        return expected["url"]
    if about.get("hub"):
        return HUB.format(hub=about["hub"], revision=about.get("revision", "main"), file=file)
    raise StageError(
        f"{file} of {name} cannot be fetched by a program; it is at: {expected.get('by_hand', 'an unknown place')}. "
        f"Put it into resources/weights/{name}/ and type `{fetch_command(name)}`."
    )


@dataclass
class _Answer(urllib.request.HTTPRedirectHandler):
    """Follows redirections and keeps the sha256 that the hub's first answer names."""

    sha256: str | None = None

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        linked = headers.get(LINKED_ETAG, "").strip('"')
        if re.fullmatch("[0-9a-f]{64}", linked):
            self.sha256 = linked
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, path: Path, expected: dict, attempts: int, command: str, report: Reporter) -> None:
    """Fetch `url` to `path`, resuming `<path>.part`; `expected` holds size and sha256, null where not known.

    Raises StageError: not found or not allowed (at once), unreachable or cut off (after `attempts`), disk full,
    wrong checksum. The partial file stays for the next run unless its checksum is wrong.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    for attempt in range(1, attempts + 1):
        try:
            known = _receive(url, partial, report)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 416, 429):
                raise StageError(
                    f"{url} answered {error.code} {error.reason}; expected the file. Its address in weights.yaml "
                    f"may have moved, or the network asks for an account: put {path.name} into {path.parent} by hand "
                    f"and type `{command}`."
                ) from None
            if error.code == 416:
                partial.unlink(missing_ok=True)
            reason = f"{error.code} {error.reason}"
        except (http.client.HTTPException, OSError) as error:
            if not _cut_off(error):
                if error.errno not in DISK_FULL:
                    raise
                raise StageError(
                    f"no space for {path.name} on the disk of {path.parent} ({error.strerror}). Free some (`df -h .` "
                    f"shows it) and type `{command}`; what has arrived is kept and resumed."
                ) from None
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        report.say(f"attempt {attempt} of {attempts}: {reason}")
        if attempt < attempts:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
    else:
        raise StageError(
            f"{url} could not be fetched in {attempts} attempts ({reason}). When this machine is online, type "
            f"`{command}`: it resumes. Without a network, copy the files into {path.parent} and type the same."
        )
    arrived = {"size": expected.get("size"), "sha256": expected.get("sha256") or known}
    problem = mismatch(partial, arrived) or _no_such_file(partial, path.suffix)
    if problem:
        partial.unlink()
        _etag_file(partial).unlink(missing_ok=True)
        raise StageError(
            f"{url} gave another file than was meant: {problem}. It was deleted. Type `{command}` to try again; if it "
            "stays so, the file was republished: compare with its author and correct config/weights.yaml."
        )
    os.replace(partial, path)
    _etag_file(partial).unlink(missing_ok=True)


def _cut_off(error: Exception) -> bool:
    """Whether the connection failed, which another attempt may mend, and not this machine."""
    return isinstance(error, CONNECTION_LOST) or getattr(error, "errno", None) in UNREACHABLE


def _no_such_file(path: Path, suffix: str) -> str | None:
    """What is wrong with a file that should have `suffix`: the page of a login or an error comes with status 200."""
    if suffix == ".json":
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return "it is no JSON"
    with open(path, "rb") as file:
        start = file.read(64).lstrip().lower()
    return "it is a page of HTML" if start.startswith((b"<!doctype html", b"<html")) else None


def _etag_file(partial: Path) -> Path:
    return partial.with_name(partial.name + ".etag")


def _receive(url: str, partial: Path, report: Reporter) -> str | None:
    """One attempt: append to `partial` what is missing; returns the sha256 that the server names, if any.

    A partial file is resumed only when the server still has the version that it began with (If-Range).
    """
    etag_file = _etag_file(partial)
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "video-to-4d", "Accept-Encoding": "identity"}
    if have and etag_file.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": etag_file.read_text(encoding="utf-8")}
    answer = _Answer()
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.build_opener(answer).open(request, timeout=TIMEOUT_S) as response:
        resumed = response.status == 206
        total = int(response.headers.get("Content-Length") or 0) + (have if resumed else 0)
        etag = response.headers.get("ETag", "")
        # A weak tag does not promise equal bytes, and RFC 9110 forbids it in If-Range.
        if etag and not etag.startswith("W/"):
            etag_file.write_text(etag, encoding="utf-8")
        else:
            etag_file.unlink(missing_ok=True)
        if resumed:
            report.say(f"resuming {partial.name} at byte {have} of {total}")
        have = have if resumed else 0
        if total and total - have + SPARE_BYTES > shutil.disk_usage(partial.parent).free:
            raise OSError(errno.ENOSPC, f"{total - have} bytes are needed")
        with open(partial, "ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                report.progress(have, total or have)
    if total and have != total:
        raise http.client.IncompleteRead(b"", total - have)
    return answer.sha256


if __name__ == "__main__":
    cli.run(main, "weights")
