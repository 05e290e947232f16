"""Files of tabdl that somebody has changed: ``python tests/persistence/hostile.py 10000`` tries so
many, in a process whose memory is limited, and prints what became of them."""

import copy
import io
import json
import resource
import sys
import time
import traceback
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from conftest import make, people, target

import tabdl

TREE, TENSORS, MANIFEST = "estimator.json", "tensors.safetensors", "manifest.json"
VALUES = [
    None,
    True,
    False,
    -1,
    0,
    1,
    3,
    10**9,
    2**70,
    -(2**70),
    0.5,
    -0.5,
    1e308,
    -1e-300,
    "",
    "x",
    "number",
    "category",
    "$array",
    [],
    {},
    [[]],
    {"$array": "x"},
    {"$float": "nan"},
    {"$float": "inf"},
    {"$estimator": "os.system", "is_own": True, "params": {}, "fitted": None},
    {"$estimator": "TabMLPClassifier", "is_own": False, "params": {}, "fitted": None},
    {"$embedding": "PiecewiseLinear", "params": {"n_bins": 10**12}},
    {"$tuple": [1, 2]},
    {"$dict": [[[], 1]]},
    ["period", "x", 1],
    ["date", "2020-13-01"],
    ["duration", 2**90],
]
RAW = ["NaN", "-Infinity", "1e999", "9" * 5000, "[" * 100_000, '{"a":1,"a":2}', "{", '"\\ud800"']


def saved(model):
    stream = io.BytesIO()
    tabdl.save(model, stream)
    return stream.getvalue()


def parts_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts, compression=zipfile.ZIP_STORED):
    """Return a zip of pairs of name and bytes."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")  # a name that stands twice
        for name, part in parts:
            archive.writestr(name, part)
    return stream.getvalue()


def split_tensors(data):
    n_header = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + n_header]), data[8 + n_header :]


def joined_tensors(header, body):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


# --- one change each


def change_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(len(data))] = rng.integers(256)
    return bytes(data)


def cut(rng, data):
    start, end = np.sort(rng.integers(len(data), size=2))
    ways = data[:end], data[start:], data[:start] + data[end:], data + data[start:end]
    return ways[rng.integers(4)]


def change_zip(rng, data):
    parts = list(parts_of(data).items())
    name, part = parts[rng.integers(3)]
    others = [item for item in parts if item[0] != name]
    bomb = packed([*others, (name, bytes(20_000_000))], zipfile.ZIP_DEFLATED)
    ways = (
        lambda: packed([*parts, (name, part)]),
        lambda: packed([*parts, ("more", b"x")]),
        lambda: packed([*others, (f"../{name}", part)]),
        lambda: packed([*others, (f"/etc/{name}", part)]),
        lambda: packed(others),
        lambda: packed(parts, zipfile.ZIP_DEFLATED),
        lambda: packed(parts, zipfile.ZIP_LZMA),
        lambda: bomb,
        lambda: packed([*others, (name, b"")]),
        lambda: packed([*others, (name, change_bytes(rng, part))]),
        lambda: packed([*others, (name, cut(rng, part))]),
        lambda: packed(parts).replace(part[:8], part[8:16]),
    )
    return ways[rng.integers(len(ways))]()


def places(node, found):
    """Return pairs of a container and a key for all nodes below ``node``."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        found.append((node, key))
        if isinstance(value, dict | list):
            places(value, found)
    return found


def change_json(rng, text):
    tree = json.loads(text)
    for _ in range(rng.integers(1, 3)):
        found = places(tree, [])
        node, key = found[rng.integers(len(found))]
        other, other_key = found[rng.integers(len(found))]
        way = rng.integers(8)
        if way < 3:
            node[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        elif way == 3:
            node[key] = copy.deepcopy(other[other_key])
        elif way == 4:
            node[key], other[other_key] = copy.deepcopy((other[other_key], node[key]))
        elif way == 5:
            del node[key]
        elif way == 6 and isinstance(node, dict):
            node[["x", "$x", "__class__", "predict"][rng.integers(4)]] = node.pop(key)
        elif way == 7 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] *= [-1, 0, 2, 1000, 0.5][rng.integers(5)]
        else:
            node[key] = "raw-here"
    raw = RAW[rng.integers(len(RAW))]
    return json.dumps(tree).replace('"raw-here"', raw).encode()


def change_tensors(rng, data):
    header, body = split_tensors(data)
    names = list(header)
    name = names[rng.integers(len(names))]
    other = names[rng.integers(len(names))]
    entry = header[name]
    way = rng.integers(8)
    if way == 0:
        entry["dtype"] = ["F64", "F32", "I64", "I32", "U8", "BOOL", "F16", "BF16", "X"][
            rng.integers(9)
        ]
    elif way == 1:
        entry["shape"] = [[], [0], [2**40], [2**62, 2**62], [-1], entry["shape"][::-1]][
            rng.integers(6)
        ]
    elif way == 2:
        entry["data_offsets"] = header[other]["data_offsets"]
    elif way == 3:
        header[name], header[other] = header[other], header[name]
    elif way == 4:
        header[f"{name}x"] = header.pop(name)
    elif way == 5:
        start, end = entry["data_offsets"]
        number = [np.nan, np.inf, -np.inf, 1e30, -1][rng.integers(5)]
        kind = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}.get(entry["dtype"], "<i1")
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            part = np.full((end - start) // np.dtype(kind).itemsize, number).astype(kind).tobytes()
        body = body[:start] + part.ljust(end - start, b"\0") + body[end:]
    elif way == 6:
        body = change_bytes(rng, body)
    else:
        body = cut(rng, body)
    return joined_tensors(header, body)


def mutated(rng, data):
    """Return a changed file, and which part was changed."""
    way = ["bytes", "cut", "zip", *3 * ["tree"], *2 * ["tensors"], "manifest"][rng.integers(9)]
    if way in ("bytes", "cut", "zip"):
        change = {"bytes": change_bytes, "cut": cut, "zip": change_zip}[way]
        return change(rng, data), way
    parts = parts_of(data)
    name = {"tree": TREE, "tensors": TENSORS, "manifest": MANIFEST}[way]
    change = change_tensors if way == "tensors" else change_json
    parts[name] = change(rng, parts[name])
    return packed(parts.items()), way


def outcome(data, X):
    """Return what becomes of a file, "refused" or more; anything but a ValueError comes through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = tabdl.load(io.BytesIO(data))
        except ValueError:
            return "refused"
        try:
            model.predict(X)
        except ValueError:
            return "read, and another table is asked for"
        return "read"


def models(X, y):
    """Yield small fitted estimators of several kinds."""
    few = {"max_epochs": 1, "n_blocks": 1, "d_block": 4}
    text = np.array(["no", "yes"])[target(y - 2, "Classifier")]
    yield make("TabM", "Classifier", calibrate=True, numeric_missing="indicator", **few).fit(
        X, text
    )
    yield make("RealMLP", "Regressor", n_members=2, **few).fit(X, np.column_stack([y, -y]))
    yield make("FTTransformer", "Classifier", **few).fit(X, np.digitize(y, [1, 3]))
    yield make("TabResNet", "Regressor", numeric_transform="standard", **few).fit(X, y)
    cv = tabdl.CrossValEnsembleRegressor(make("TabMLP", "Regressor", **few), cv=2, refit="all")
    yield tabdl.GreedyEnsembleRegressor([("a", cv)], cv=2, random_state=0).fit(X, y)
    of_classes = tabdl.CrossValEnsembleClassifier(make("GMLP", "Classifier", **few), cv=2)
    yield of_classes.fit(X, text)


def limit_memory(n_bytes):
    """Let this process have so many bytes more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(n_files, seed=0):
    torch.set_num_threads(1)
    X, y = people(60)
    files = [saved(model) for model in models(X, y)]
    assert {outcome(data, X) for data in files} == {"read"}
    limit_memory(2**30)
    counts = Counter()
    slowest = 0.0
    for i in range(n_files):
        data, way = mutated(np.random.default_rng([seed, i]), files[i % len(files)])
        began = time.perf_counter()
        try:
            counts[way, outcome(data, X)] += 1
        except Exception as error:
            counts[way, f"{type(error).__name__}"] += 1
            print(i, way, "".join(traceback.format_exception(error)[-4:]), flush=True)
        slowest = max(slowest, time.perf_counter() - began)
        if i % 1000 == 999:
            print(f"{i + 1} files", flush=True)
    for (way, what), count in sorted(counts.items()):
        print(f"{count:6d}  {way:9s} {what}")
    print(f"slowest: {slowest:.2f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(int, sys.argv[2:]))
