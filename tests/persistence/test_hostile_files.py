"""Files that were damaged or made to do harm: a ValueError each, in bounded memory.

``hostile.py`` says what is tried, and tries as many as asked.
"""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
from fitted_models import X, fitted
from hostile import (
    MANIFEST,
    TENSORS,
    TREE,
    mutated,
    outcome,
    packed,
    parts_of,
    saved,
    split_tensors,
)

import tabdl
from tabdl.persistence.tensors import from_bytes, to_bytes

KINDS = ["TabMClassifier", "RealMLPRegressor", "GreedyEnsembleClassifier"]


@pytest.fixture(scope="module")
def files():
    return [saved(fitted(name)) for name in KINDS]


@pytest.fixture(scope="module")
def parts(files):
    return parts_of(files[0])


def refused(data, match=""):
    with pytest.raises(ValueError, match=match or "load: "):
        tabdl.load(io.BytesIO(data))


@pytest.mark.parametrize("seed", range(150))
def test_changed_files(seed, files):
    data, _ = mutated(np.random.default_rng([1, seed]), files[seed % len(files)])
    outcome(data, X)  # raises whatever is no ValueError


def test_truncated_files(files):
    for end in np.linspace(0, len(files[0]) - 1, 20).astype(int):
        refused(files[0][:end])


def test_parts(parts):
    others = [(name, part) for name, part in parts.items() if name != TENSORS]
    tensors = parts[TENSORS]
    refused(packed([*others, (f"../{TENSORS}", tensors)]), "must have the parts")
    refused(packed([*parts.items(), (TENSORS, tensors)]), "must have the parts")
    refused(packed(parts.items(), zipfile.ZIP_DEFLATED), "neither compressed nor encrypted")
    refused(packed([*others, (TENSORS, b"")]), "cut off")
    refused(packed([*others, (TENSORS, tensors + b"x")]), "belong to none")
    for manifest in (b"{}", b"[]", b'{"format": 0}', b'{"format": true}', b"x"):
        refused(packed({**parts, MANIFEST: manifest}.items()))


def test_a_bomb_of_zeros_takes_no_memory(parts):
    bomb = packed({**parts, TENSORS: bytes(200_000_000)}.items(), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    refused(bomb, "neither compressed nor encrypted")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def changed_tree(parts, change):
    tree = json.loads(parts[TREE])
    change(tree)
    return packed({**parts, TREE: json.dumps(tree).encode()}.items())


def network(tree):
    return tree["fitted"]["networks"][0]


def column(tree, kind):
    encoder = tree["fitted"]["encoder"]
    return encoder["encoders"][encoder["kinds"].index(kind)]


CHANGES = {
    "a class of another module": (
        lambda t: t.update({"$estimator": "os.system"}),
        "no estimator of this tabdl",
    ),
    "an ensemble's state": (lambda t: t.update({"$estimator": "GMLPClassifier"}), ""),
    "an unknown parameter": (lambda t: t["params"].update(x=1), "unexpected keyword"),
    "a wrong parameter": (lambda t: t["params"].update(lr=-1.0), "lr must be"),
    "many threads": (lambda t: t["params"].update(n_jobs=10**9), "n_jobs"),
    "many blocks": (lambda t: t["fitted"]["params"].update(n_blocks=10**9), "blocks"),
    "a wide block": (lambda t: t["fitted"]["params"].update(d_block=10**12), "the network has"),
    "many predictions": (lambda t: network(t).update(n_predictions=10**9), "n_predictions"),
    "many members": (lambda t: t["fitted"]["networks"].append(network(t)), "twice"),
    "no member": (lambda t: t["fitted"]["networks"].clear(), "networks must be"),
    "a shadowed method": (lambda t: t["fitted"].update(predict=1), "must have"),
    "twice the same tensor": (
        lambda t: network(t)["tensors"].update({"head.weight": {"$array": "x"}}),
        "no tensor 'x'",
    ),
    "an equal category": (
        lambda t: column(t, "category")["categories"].append("Bern"),
        "different",
    ),
    "another category": (lambda t: column(t, "category")["categories"].append("x"), "the network"),
    "no category": (lambda t: column(t, "category").update(categories=[None]), "different text"),
    "an unknown kind": (lambda t: t["fitted"]["encoder"]["kinds"].__setitem__(0, "x"), "kinds"),
    "another kind": (lambda t: t["fitted"]["encoder"]["kinds"].__setitem__(0, "datetime"), ""),
    "a scale of zero": (lambda t: column(t, "number").update(unit=0.0), "unit must be"),
    "classes": (lambda t: t["fitted"]["target"]["classes"].update({"$text": ["a", "a"]}), "labels"),
    "a temperature": (lambda t: t["fitted"]["target"].update(temperature=1.0), "an array"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_trees(name, parts):
    change, message = CHANGES[name]
    refused(changed_tree(parts, change), message)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": 1, "a": 2}', "NaN", '{"$estimator": 1}', '{"x": 1e999}', "\xff"]
)
def test_json(text, parts):
    refused(packed({**parts, TREE: text.encode("latin-1")}.items()))


def test_tensors(parts):
    header, body = split_tensors(parts[TENSORS])
    # A weight whose shape is another one backwards.
    shapes = {name: entry["shape"] for name, entry in header.items() if "backbone" in name}
    name = next(name for name, shape in shapes.items() if shape != shape[::-1])
    other = next(other for other in header if header[other]["shape"] != header[name]["shape"])
    for change, message in (
        ({"shape": [2**40, 2**40]}, "wrong shape|does not stand|cut off"),
        ({"shape": header[name]["shape"][::-1]}, "the network has"),
        ({"dtype": "BF16"}, "unknown dtype"),
        ({"dtype": "I32"}, "the network has"),
        ({"data_offsets": header[other]["data_offsets"]}, "does not stand"),
    ):
        text = json.dumps({**header, name: {**header[name], **change}}).encode()
        data = len(text).to_bytes(8, "little") + text + body
        refused(packed({**parts, TENSORS: data}.items()), message)
    arrays = dict(from_bytes(parts[TENSORS]))
    swapped = {**arrays, name: arrays[other], other: arrays[name]}
    refused(packed({**parts, TENSORS: to_bytes(swapped)}.items()))
    nan = {**arrays, name: np.full_like(arrays[name], np.nan)}
    refused(packed({**parts, TENSORS: to_bytes(nan)}.items()), "is not finite")
    more = {**arrays, "more": np.zeros(3)}
    refused(packed({**parts, TENSORS: to_bytes(more)}.items()), "that nothing names")


def test_codes_out_of_range(files):
    """Codes that point beyond the categories are found when the file is read, not at predict."""
    parts = parts_of(files[2])
    arrays = dict(from_bytes(parts[TENSORS]))
    for name in [name for name in arrays if name.endswith(".known")]:
        for wrong in (10**6, -1):
            changed = {**arrays, name: np.full_like(arrays[name], wrong)}
            refused(packed({**parts, TENSORS: to_bytes(changed)}.items()), "codes below")
    assert any(name.endswith(".known") for name in arrays)
