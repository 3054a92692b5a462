"""Download public recordings whole and unchanged: checksums, licences, resumed downloads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from .._validation import check_number, check_option

__all__ = ["REMOTE", "Remote", "fetch_center_out", "fetch_mc_maze"]

CHUNK = 2**18  # bytes written at a time
TIMEOUT = 30  # s to wait for an answer
ENVIRONMENT = "JEDI_SKLEARN_DATA"


@dataclass(frozen=True)
class Remote:
    """A public file: its name, address, size, checksum, licence and source."""

    name: str
    url: str
    size: int  # bytes
    sha256: str
    licence: str
    source: str


def _of_dandi(
    dandiset: str, asset: str, size: int, sha256: str, name: str, licence: str = "CC-BY-4.0"
) -> Remote:
    url = f"https://api.dandiarchive.org/api/assets/{asset}/download/"
    return Remote(
        name, url, size, sha256, licence, f"https://dandiarchive.org/dandiset/{dandiset}"
    )


# Sizes and checksums are from the archive's own records of the published assets.
REMOTE = {
    "mc_maze_small": _of_dandi(
        "000140",
        "7821971e-c6a4-4568-8773-1bfa205c13f8",
        29_207_528,
        "dcaf3a524e2b2f65f163ee3b07789b8474bdfc6ca66098bc542ab93dff489884",
        "sub-Jenkins_ses-small_desc-train_behavior+ecephys.nwb",
    ),
    "mc_maze_medium": _of_dandi(
        "000139",
        "7ef450a8-8684-42e2-8598-cd38ca2b2e50",
        76_604_764,
        "3852799f85f662f1cacadb0d758ba8fa0dc6cca318f46c9b131978adf1baffb6",
        "sub-Jenkins_ses-medium_desc-train_behavior+ecephys.nwb",
    ),
    "mc_maze_large": _of_dandi(
        "000138",
        "e67b57b2-e9ad-4d95-b9e3-1262997360dc",
        148_590_536,
        "1188ddf5b822dd9ac49afb8916f4b42a85867613cf7f169d0b04a1d1aeecd700",
        "sub-Jenkins_ses-large_desc-train_behavior+ecephys.nwb",
    ),
    "center_out": _of_dandi(
        "000688",
        "93f2d699-3b32-436e-a067-b26ce4b02225",
        39_553_680,
        "0e7f3b786a56e96d9e0a7382d54346ea7cb9bd17a26fb04103994d3bddf07189",
        "sub-C_ses-CO-20131003_behavior+ecephys.nwb",
    ),
}


def fetch_mc_maze(
    session: str = "small",
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    progress: bool = True,
) -> Path:
    """Download a session of maze reaching and return the path of its NWB file.

    The session holds sorted units of macaque primary motor and dorsal premotor cortex during
    delayed reaches around barriers [1]_, as prepared for the Neural Latents Benchmark [2]_:
    DANDI:000140, 000139 and 000138, licence CC-BY-4.0. Read the file with :func:`load_nwb`. The
    files hold 100, 250 and 500 trials, without those that the benchmark keeps for its test.

    Parameters
    ----------
    session : {"small", "medium", "large"}, default="small"
        Session to download: 29, 77 or 149 MB.
    data_home : path, optional
        Folder that keeps the file. Default: that of the environment variable
        ``JEDI_SKLEARN_DATA``, or else the user's cache folder.
    download_if_missing : bool, default=True
        Whether to download the file if it is missing. If False, the file must be there already.
    n_retries : int, default=3
        Number of times to resume after the connection breaks.
    delay : float, default=1.0
        Time to wait before each retry, s.
    progress : bool, default=True
        Whether to show a progress bar, if tqdm is installed.

    Returns
    -------
    pathlib.Path
        Path of the file. Its checksum matches that of the archive.

    Raises
    ------
    OSError
        If the file is missing and cannot be downloaded. A partial download is kept, and the next
        call resumes it.
    ImportError
        If pooch is not installed.
    ValueError
        If there is no such session.

    See Also
    --------
    fetch_center_out : Downloads reaches in eight directions.
    load_nwb : Reads such a file into counts of trials x time x neurons.

    References
    ----------
    .. [1] M. M. Churchland et al. (2010), "Cortical preparatory activity: representation of
       movement or first cog in a dynamical machine?", Neuron 68:387-400.
    .. [2] F. Pei et al. (2021), "Neural Latents Benchmark '21", NeurIPS Datasets and Benchmarks.

    Examples
    --------
    >>> from jedi_sklearn.datasets import fetch_mc_maze, load_nwb
    >>> path = fetch_mc_maze()  # doctest: +SKIP
    >>> rec = load_nwb(  # doctest: +SKIP
    ...     path, align="move_onset_time", start=-0.25, stop=0.45, bin_width=0.02,
    ...     conditions=["trial_type", "trial_version"],
    ... )
    """
    check_option(session, "session", ("small", "medium", "large"))
    remote = REMOTE[f"mc_maze_{session}"]
    return _fetch(remote, data_home, download_if_missing, n_retries, delay, progress)


def fetch_center_out(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    progress: bool = True,
) -> Path:
    """Download a session of center-out reaching and return the path of its NWB file.

    The session holds sorted units of macaque motor cortex during reaches in eight directions
    after an instructed delay [1]_: monkey C, 3 October 2013, from DANDI:000688, licence
    CC-BY-4.0, 40 MB. Read the file with :func:`load_nwb`.

    Parameters
    ----------
    data_home : path, optional
        Folder that keeps the file. Default: that of the environment variable
        ``JEDI_SKLEARN_DATA``, or else the user's cache folder.
    download_if_missing : bool, default=True
        Whether to download the file if it is missing. If False, the file must be there already.
    n_retries : int, default=3
        Number of times to resume after the connection breaks.
    delay : float, default=1.0
        Time to wait before each retry, s.
    progress : bool, default=True
        Whether to show a progress bar, if tqdm is installed.

    Returns
    -------
    pathlib.Path
        Path of the file. Its checksum matches that of the archive.

    Raises
    ------
    OSError
        If the file is missing and cannot be downloaded. A partial download is kept, and the next
        call resumes it.
    ImportError
        If pooch is not installed.

    See Also
    --------
    fetch_mc_maze : Downloads reaches around barriers.
    load_nwb : Reads such a file into counts of trials x time x neurons.

    References
    ----------
    .. [1] M. G. Perich, J. A. Gallego, L. E. Miller (2018), "A neural population mechanism for
       rapid learning", Neuron 100:964-976.

    Examples
    --------
    >>> from jedi_sklearn.datasets import fetch_center_out, load_nwb
    >>> rec = load_nwb(  # doctest: +SKIP
    ...     fetch_center_out(), align="go_cue_time", start=-0.2, stop=0.8, bin_width=0.02,
    ...     conditions="target_id", trials={"result": "R"},
    ... )
    """
    remote = REMOTE["center_out"]
    return _fetch(remote, data_home, download_if_missing, n_retries, delay, progress)


def _fetch(
    remote: Remote,
    data_home: Any,
    download_if_missing: bool,
    n_retries: int,
    delay: float,
    progress: bool,
) -> Path:
    """Return the path of a public file; download it if needed."""
    check_number(n_retries, "n_retries", Integral, low=0)
    check_number(delay, "delay", low=0, unit="s")
    if data_home is not None and not isinstance(data_home, (str, os.PathLike)):
        raise TypeError(f"data_home must be the path of a folder, got {data_home!r}.")
    pooch = _import_pooch()
    folder = data_home or os.environ.get(ENVIRONMENT) or pooch.os_cache("jedi-sklearn")
    path = Path(folder).expanduser() / remote.name
    by_hand = (
        f"You can also download it by hand from {remote.source} (licence {remote.licence}) and "
        f"put it into {path.parent} under this name. For another folder set data_home, or the "
        f"environment variable {ENVIRONMENT}."
    )
    what = f"{remote.name} ({remote.size / 1e6:.1f} MB)"
    if not download_if_missing:
        if not path.exists():
            raise OSError(
                f"{what} is not in {path.parent}, and download_if_missing=False. Set it to True. "
                f"{by_hand}"
            )
        if pooch.file_hash(path) != remote.sha256:
            raise OSError(
                f"{path} is damaged: its checksum is not that of the archive, and it has "
                f"{path.stat().st_size} of {remote.size} bytes. With download_if_missing=True it "
                f"is replaced. {by_hand}"
            )
        return path
    download = Download(remote, path, n_retries, delay, progress)
    try:
        pooch.retrieve(
            remote.url, remote.sha256, fname=path.name, path=path.parent, downloader=download
        )
    except (OSError, ValueError) as error:  # ValueError: the checksum
        kept = " The partial file is kept: call again to resume." if download.part.exists() else ""
        raise OSError(
            f"{what} could not be downloaded from {remote.url}: {str(error).rstrip('.')}.{kept} "
            f"{by_hand}"
        ) from error
    return path


class Download:
    """Downloader for pooch that resumes where an earlier call was cut off."""

    def __init__(
        self, remote: Remote, path: Path, n_retries: int, delay: float, progress: bool
    ) -> None:
        self.remote, self.n_retries, self.delay = remote, n_retries, delay
        self.progress = progress
        self.part = path.with_name(f"{path.name}.part")

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download the rest of the file, with retries, and move it to its place."""
        import requests

        for attempt in range(self.n_retries + 1):
            try:
                self._go_on(url)
                break
            except (requests.ConnectionError, requests.Timeout):
                if attempt == self.n_retries:
                    raise
                time.sleep(self.delay)
        os.replace(self.part, output_file)

    def _go_on(self, url: str) -> None:
        """Append what is missing to the partial file."""
        import requests

        size = self.remote.size
        done = self.part.stat().st_size if self.part.exists() else 0
        if done == size:  # complete; only its checksum was not checked
            return
        if done > size:  # two downloads wrote to it at the same time
            done = 0
        headers = {"Accept-Encoding": "identity"}  # uncompressed, so that bytes can be counted
        if done:
            headers["Range"] = f"bytes={done}-"
        try:
            response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
        except requests.ConnectionError as error:
            raise requests.ConnectionError(
                f"there is no connection to {urlsplit(url).netloc}. Check that this machine is "
                "online, and whether it needs a proxy (environment variable HTTPS_PROXY)."
            ) from error
        with response:
            if response.status_code >= 500:  # temporary: worth another try
                raise requests.ConnectionError(f"the server answers {response.status_code}.")
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                done = 0  # the server sends the whole file again
            offered = done + int(response.headers.get("Content-Length", size - done))
            if offered != size:
                raise OSError(
                    f"the server offers {offered} bytes, not {size}. Either a login page of the "
                    "network answers in its place, or the file was changed."
                )
            with (
                self.part.open("ab" if done else "wb") as file,
                _bar(self.remote.name, size, done, self.progress) as update,
            ):
                with suppress(requests.exceptions.ChunkedEncodingError):
                    for chunk in response.iter_content(CHUNK):
                        update(file.write(chunk))
                if file.tell() < size:
                    raise requests.ConnectionError(f"it broke off after {file.tell()} bytes.")


@contextmanager
def _bar(name: str, size: int, done: int, progress: bool) -> Iterator[Callable[[int], Any]]:
    """Show a progress bar in bytes, if tqdm is installed; yield the function that advances it."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        progress = False
    if not progress:
        yield lambda n: None
        return
    with tqdm(total=size, initial=done, desc=name, unit="B", unit_scale=True) as bar:
        yield bar.update


def _import_pooch() -> ModuleType:
    """Import pooch, or raise an ImportError that says how to install it."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "Downloads need pooch, which cannot be imported. Install it with "
            'pip install "jedi-sklearn[data]".'
        ) from error
    return pooch
