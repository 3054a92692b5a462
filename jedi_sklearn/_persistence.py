"""Estimators and unfinished fits in files: what is stored, how, and why a file is refused.

A file is an .npz archive, read with ``allow_pickle=False``, so nothing in it can run code. Its
array "header" is JSON in UTF-8. It holds the kind of file, the version of the format, the version
of the package that wrote it, and a tree of values in which arrays are referred to by their names
in the file. JSON's own values stand for themselves; any other value is an object with a single
key that gives its kind.

A new parameter or field needs a default, so that older files can be read. A reader refuses
anything that it does not know. If that is not enough, raise `FORMAT`: older versions then refuse
the file, and the tables at the end must translate older formats.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import pathlib
import re
import secrets
import zipfile
import zlib

import numpy as np
import torch
from sklearn import config_context

from ._callbacks import STATE
from ._components import RunComponents
from ._disturbance import Disturbances
from ._hypernetwork import Hypernetwork
from ._inference import GaussianPrior
from ._initial_state import INITIAL_STATES, Inferred, Observed
from ._missing import Imputer
from ._model import Model
from ._observation import OBSERVATIONS, Gaussian
from ._stored import StoredTrials
from ._validation import OLD_NAMES, setting

__all__ = ["Checkpoint", "check_target", "load_estimator", "save_estimator"]

FORMAT = 3
TRAINING = 3  # format of the state of training, in checkpoints alone
OURS = "jedi_sklearn"
KINDS = {"estimator": "a saved estimator", "checkpoint": "the checkpoint of an unfinished fit"}
# parameters that do not change what a fit computes, so they may differ from the checkpoint's
FREE = ("checkpoint", "device", "output", "verbose")
# stored as the arguments of their constructors, which they keep as attributes of the same names;
# a reader refuses an argument that it does not know
PARTS = (
    Model,
    GaussianPrior,
    Imputer,
    Disturbances,
    RunComponents,
    *OBSERVATIONS.values(),
    *INITIAL_STATES.values(),
)
RECORDS = {cls.__name__: cls for cls in PARTS}


# Estimators


def save_estimator(est, path):
    """Write parameters and everything learned, if anything, to `path`."""
    names = est.get_params(deep=False)
    parameters = {name: setting(est, name) for name in names if name not in OLD_NAMES.values()}
    skipped = {*names, *STATE}
    fitted = {name: value for name, value in vars(est).items() if name not in skipped}
    fitted.pop("hypernetwork_", None)  # part of _model
    if fitted.pop("_metadata_request", None) is not None:
        fitted["_metadata_request"] = _read_requests(est)
    content = {"parameters": parameters, "fitted": fitted, "class": type(est).__name__}
    _write(path, "estimator", content)


def load_estimator(cls, path):
    """Load the estimator of class `cls` that `save_estimator` wrote."""
    content, writer = _read(path, "estimator")
    with _damage(path):
        parameters, fitted = (_in_new_names(content[part]) for part in ("parameters", "fitted"))
        unknown = _unknown(cls, parameters)
        if unknown and (saved_as := content.get("class", cls.__name__)) != cls.__name__:
            raise _Refusal(
                f"{path} holds a {saved_as} with the parameter {unknown[0]!r}, which "
                f"{cls.__name__} does not have. Load it with {saved_as}.load(path)."
            )
        est = _build(cls, parameters, writer, path)
        requests = fitted.pop("_metadata_request", {})
        vars(est).update(fitted)
        if "_model" in fitted:
            est.hypernetwork_ = est._model.hypernetwork
        _set_requests(est, requests)
    return est


def _read_requests(est):
    """Collect the requests of metadata routing as plain dictionaries, by method."""
    routing = est.get_metadata_routing()
    methods = [n[4:-8] for n in dir(est) if n.startswith("set_") and n.endswith("_request")]
    return {method: dict(getattr(routing, method).requests) for method in methods}


def _set_requests(est, requests):
    with config_context(enable_metadata_routing=True):
        for method, values in requests.items():
            getattr(est, f"set_{method}_request")(**values)


# Checkpoints


class Checkpoint:
    """File from which an interrupted fit continues.

    Parameters
    ----------
    path : path-like
        Name of the file.
    parameters : dict
        All parameters of the estimator.
    **data : ndarray, dict of ndarray, or None
        All data that the fit depends on.

    Attributes
    ----------
    seed : int or None
        Seed that the fit drew, if it was given none.
    state : dict or None
        State of training to continue from; None if there is no file.

    Raises
    ------
    ValueError
        If the file belongs to another fit, or this package did not write it. The file is left
        unchanged.
    """

    def __init__(self, path, parameters, **data):
        self.path = check_target(path, "checkpoint")
        self.fit = {n: _plain(v) for n, v in sorted(parameters.items()) if n not in FREE}
        self.fit |= {name: _fingerprint(values) for name, values in data.items()}
        self.fit["version of jedi-sklearn"] = _version()
        # a fit continues only in the same format of its state
        self.fit["format"], self.fit["format of the training"] = FORMAT, TRAINING
        self.seed = self.state = None
        self._stamp = _stamp(self.path)
        if self._stamp is not None:
            content, _ = _read(self.path, "checkpoint")
            with _damage(self.path):
                self._compare(content["fit"])
                self.seed, self.state = content["seed"], content["state"]

    def _compare(self, stored):
        names = [n for n in {**stored, **self.fit} if stored.get(n) != self.fit.get(n)]
        if names:
            listed = "; ".join(
                f"{n}: {stored.get(n)} there, {self.fit.get(n)} here" for n in names
            )
            raise _Refusal(
                f"{self.path} is the checkpoint of another fit ({listed}). Finish that fit with "
                "its own data and parameters, give this fit another path, or remove the file."
            )

    def write(self, state):
        """Replace the file with this state of training."""
        self._check_ours()
        _write(self.path, "checkpoint", {"fit": self.fit, "seed": self.seed, "state": state})
        self._stamp = _stamp(self.path)

    def remove(self):
        """Remove the file after a complete fit."""
        if _stamp(self.path) is not None:
            self._check_ours()
            os.remove(self.path)

    def _check_ours(self):
        if _stamp(self.path) not in (None, self._stamp):
            raise RuntimeError(
                f"Another process wrote {self.path} during this fit. Fits that run at the same "
                "time, as in a parallel search, need separate checkpoints."
            )


def _stamp(path):
    """Return what distinguishes one version of a file from the next; None without a file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _fingerprint(values):
    """Describe an array, or several by name, by shape, dtype and hash."""
    if values is None:
        return None
    if isinstance(values, dict):
        each = repr([(name, _fingerprint(v)) for name, v in sorted(values.items())])
        return f"sha256 {hashlib.sha256(each.encode()).hexdigest()[:16]}"
    if not isinstance(values, StoredTrials):
        values = np.asarray(values)
    found = hashlib.sha256()
    if values.dtype.kind in ("O", "T"):
        found.update(repr(values.tolist()).encode())
    else:
        for part in values if values.ndim > 1 else [values]:
            found.update(np.ascontiguousarray(part).tobytes())
    return f"{values.dtype} of shape {values.shape}, sha256 {found.hexdigest()[:16]}"


def _plain(value):
    """Convert a parameter to a JSON value that is equal if it means the same to a fit."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.random.RandomState):
        state = value.get_state(legacy=False)
        rest = (state["state"]["pos"], state["has_gauss"], state["gauss"])
        return f"RandomState with {_fingerprint(state['state']['key'])} {rest}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)


# Files


class _Refusal(ValueError):
    """Error for a file that is intact but not the one expected."""


class _Unknown(_Refusal):
    """Error for a file with content that only another version knows."""

    def __init__(self, what, writer, path):
        super().__init__(
            f"{path} was written by jedi-sklearn {writer} and holds {what}, which this version "
            f"({_version()}) does not know. {_where_to_read(writer)}"
        )


def _where_to_read(writer):
    """Advise what to do with a file that this version cannot read."""

    def number(version):
        return [int(digits) for digits in re.findall(r"\d+", version)[:3]]

    if number(writer) > number(_version()):
        return f"Install jedi-sklearn {writer} or newer."
    return (
        "No newer version wrote it, so a subclass or a development version did: load it with the "
        "class and version that saved it."
    )


def check_target(path, name="path"):
    """Return `path` as a string with links resolved; raise if no file can be written there."""
    try:
        target = os.path.realpath(os.fspath(path))
    except TypeError:
        raise TypeError(f"{name} must be a string or pathlib.Path, got {path!r}.") from None
    if isinstance(target, bytes):
        target = os.fsdecode(target)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{name} must name a file, but {path} is a folder.")
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{name} is {path}, but the folder {folder} does not exist. Create it first."
        )
    return target


def _write(path, kind, content):
    """Write all or nothing: to a temporary file that then replaces `path`."""
    target = check_target(path)
    arrays = {}
    header = {
        "format": OURS,
        "format_version": FORMAT,
        "package_version": _version(),
        "kind": kind,
        "content": _encode(content, kind, arrays),
    }
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
    with contextlib.suppress(OSError):  # not every system can sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(path, kind):
    """Read a file of this kind; return its content and the version that wrote it."""
    arrays = _read_arrays(path)
    with _damage(path):
        try:
            header = json.loads(arrays.pop("header").tobytes())
            known = header["format"] == OURS
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError):
            known = False
        if not known:
            raise _Refusal(_not_ours(path))
        writer = header["package_version"]
        if header["format_version"] > FORMAT:
            raise _Refusal(
                f"{path} was written by jedi-sklearn {writer} in format "
                f"{header['format_version']}; this version ({_version()}) reads formats up to "
                f"{FORMAT}. {_where_to_read(writer)}"
            )
        if header["kind"] != kind:
            raise _Refusal(
                f"{path} is {KINDS.get(header['kind'], 'something else')}, not {KINDS[kind]}. "
                "JEDIEstimator.load reads estimators; a fit with the parameter checkpoint reads "
                "checkpoints."
            )
        return _decode(header["content"], arrays, writer, path), writer


def _read_arrays(path):
    """Read all arrays of an .npz file by name."""
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no file {path}. (save does not add an extension to the path.)"
        ) from None
    with file:
        start, whole = file.read(4), zipfile.is_zipfile(file)
        file.seek(0)
        if start[:2] != b"PK":
            if not start:
                raise ValueError(_damaged(path, "it is empty"))
            hint = " It looks like a pickle. If you trust it, use joblib.load."
            raise ValueError(_not_ours(path) + hint * (start[0] == 0x80))
        if not whole:
            raise ValueError(_damaged(path, "its end is missing"))
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError) as error:
            raise ValueError(_damaged(path, error)) from error
        except ValueError as error:
            if "allow_pickle" in str(error):
                raise ValueError(
                    f"{path} was not read because it holds pickled objects, which could run code. "
                    "JEDIEstimator.save never writes any: do not trust this file."
                ) from error
            raise ValueError(_damaged(path, error)) from error


@contextlib.contextmanager
def _damage(path):
    """Report errors that occur while a file is decoded as damage of the file."""
    try:
        yield
    except _Refusal as refusal:
        raise ValueError(str(refusal)) from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(_damaged(path, error)) from error


def _damaged(path, cause):
    return f"{path} is damaged or truncated ({cause}). Use a backup copy, or save or fit again."


def _not_ours(path):
    return f"{path} was written neither by JEDIEstimator.save nor as a checkpoint."


def _version():
    from . import __version__

    return __version__


# Values


def _encode(value, where, arrays):
    """Convert a value to JSON, and collect its arrays by their place in the tree."""

    def inside(v, name):
        return _encode(v, f"{where}/{name}", arrays)

    def put_aside(array):
        arrays[where] = array
        return where

    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is bytes:
        return {"bytes": value.hex()}
    if type(value) is list:
        return [inside(v, i) for i, v in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [inside(v, i) for i, v in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": [[inside(k, f"{k}/key"), inside(v, k)] for k, v in value.items()]}
    if isinstance(value, torch.Tensor):
        return {"tensor": put_aside(value.detach().cpu().numpy())}
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return {"scalar": put_aside(np.asarray(value))}
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            flat = [inside(v, i) for i, v in enumerate(value.ravel().tolist())]
            return {"objects": [list(value.shape), flat]}
        if value.dtype.kind == "T":
            return {"strings": inside(value.tolist(), "list")}
        if value.dtype.kind in "biufcSUmM":
            return {"array": put_aside(np.asarray(value))}
    if isinstance(value, np.random.RandomState):
        return {"RandomState": inside(value.get_state(legacy=False), "state")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, pathlib.PurePath):
        return {"path": str(value)}
    if isinstance(value, Hypernetwork):
        return {"Hypernetwork": [inside(value.config, "config"), inside(value.state_dict(), "w")]}
    if type(value) in RECORDS.values():
        fields = {name: getattr(value, name) for name in inspect.signature(type(value)).parameters}
        return {type(value).__name__: inside(fields, type(value).__name__)}
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(
        f"{where} has a type that cannot be stored safely ({kind}). Files hold numbers, strings, "
        "lists, tuples, dictionaries, arrays and RandomState. Change it, or use joblib.dump, "
        "which stores any object."
    )


def _decode(value, arrays, writer, path):
    """Convert JSON and arrays back to a value: the inverse of `_encode`."""

    def inside(v):
        return _decode(v, arrays, writer, path)

    if isinstance(value, list):
        return [inside(v) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "tuple":
        return tuple(inside(held))
    if kind == "dict":
        return {inside(k): inside(v) for k, v in held}
    if kind == "array":
        return arrays[held]
    if kind == "scalar":
        return arrays[held][()]
    if kind == "tensor":
        array = arrays[held]
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="K"))
    if kind == "objects":
        shape, flat = held
        objects = np.empty(len(flat), dtype=object)
        for i, v in enumerate(flat):
            objects[i] = inside(v)
        return objects.reshape(shape)
    if kind == "bytes":
        return bytes.fromhex(held)
    if kind == "strings":
        older = not hasattr(np.dtypes, "StringDType")  # numpy before 2 reads them as objects
        return np.array(inside(held), object if older else np.dtypes.StringDType())
    if kind == "RandomState":
        random_state = np.random.RandomState()
        random_state.set_state(inside(held))
        return random_state
    if kind == "device":
        return torch.device(held)
    if kind == "path":
        return pathlib.Path(held)
    if kind == "Hypernetwork":
        config, weights = inside(held)
        return _hypernetwork(config, weights, writer, path)
    if kind in FORMAT_1:
        return FORMAT_1[kind](inside(held))
    kind = NEW_NAMES.get(kind, kind)
    if kind in RECORDS:
        made = _build(RECORDS[kind], _in_new_names(inside(held)), writer, path)
        return made.double() if isinstance(made, torch.nn.Module) else made  # frozen in float64
    raise _Unknown(f"a value of the kind {kind!r}", writer, path)


def _hypernetwork(config, weights, writer, path):
    """Make a frozen hypernetwork of this form with these weights."""
    weights = {HYPERNETWORK_1.get(name, name): w for name, w in weights.items()}
    made = _build(Hypernetwork, config | {"generator": torch.Generator()}, writer, path)
    made = made.to(next(iter(weights.values())).dtype)
    weights.setdefault("B", made.B.detach())  # absent in format 1 without inputs
    made.load_state_dict(weights)
    return made.requires_grad_(False)


def _build(cls, arguments, writer, path):
    """Make an object from keyword arguments; refuse names that its class does not have."""
    unknown = _unknown(cls, arguments)
    if unknown:
        raise _Unknown(f"{unknown[0]!r} of a {cls.__name__}", writer, path)
    return cls(**arguments)


def _unknown(cls, arguments):
    """List the names of arguments that a class does not have."""
    return sorted(arguments.keys() - inspect.signature(cls).parameters.keys())


# Format 2: some classes, fields and parameters had other names

NEW_NAMES = {
    "Filler": "Imputer",
    "filler": "imputer",
    "inflation": "autocorrelation_time",
    "noise_inflation_": "autocorrelation_time_",
    **{old: new for new, old in OLD_NAMES.items()},
}


def _in_new_names(named):
    """Rename the keys of a dictionary to the current names."""
    return {NEW_NAMES.get(name, name): value for name, value in named.items()}


# Format 1: the observation was not separate from the state


def _model_of_format_1(fields):
    """Make a `Model` from the fields of a FittedModel."""
    names = {"hyper": "hypernetwork", "initial": "initial_state"}
    fields = {names.get(name, name): value for name, value in fields.items()}
    units = [fields.pop(name) for name in ("mean", "scale", "noise", "noise_of_neuron")]
    if fields["initial_state"] is None:
        fields["initial_state"] = Observed(len(units[0])).double()
    if fields["input_scale"] is None:
        fields["input_scale"] = np.ones(0)
    return Model(observation=Gaussian(*units), **_in_new_names(fields))


def _initial_state_of_format_1(fields):
    """Make the initial state, or return None if it is the first sample."""
    return None if fields["directions"] is None else Inferred(**fields)


FORMAT_1 = {"FittedModel": _model_of_format_1, "InitialState": _initial_state_of_format_1}
HYPERNETWORK_1 = {  # where the parameters are now
    name: f"connectivity.{name}" for name in ("U", "V", "maps", "left", "right", "offset", "dense")
}
