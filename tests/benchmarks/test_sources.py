"""Where tables come from: a real HTTP server on this machine, the authors' layout, files of the
user."""

import bz2
import gzip
import hashlib
import json
import re
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest

from benchmarks.errors import HarnessError
from benchmarks.runs.results import PAPER
from benchmarks.tables import datasets, public, sources
from benchmarks.tables.datasets import ELEVEN, Source, load, sample
from benchmarks.tables.splits import SearchData, split_rows

OPENML_COLUMNS = (("a", "numeric"), ("kind", "nominal"))
BODY = b"1,2\n3,4\n" * 1000


class _Handler(BaseHTTPRequestHandler):
    """Serves BODY whole, cut short, slowly, or not at all, by the path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/broken":
            self.send_error(500)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.path == "/slow":
            time.sleep(1.5)
        self.wfile.write(BODY[:100] if self.path == "/truncated" else BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with a fresh cache folder; ``url`` is where it is, ``asked`` what it was asked
    for."""
    monkeypatch.setenv("TABDL_DATA", str(tmp_path / "cache"))
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.asked, http.url = [], f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def left_over():
    return [
        path
        for path in sources.data_home().rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    ]


def test_download_is_kept_and_its_checksum_recorded(server):
    path = sources.download(f"{server.url}/whole", "table.csv")
    assert path.read_bytes() == BODY
    assert json.loads((path.parent / "checksums.json").read_text()) == {
        "table.csv": hashlib.sha256(BODY).hexdigest()
    }
    assert sources.download(f"{server.url}/whole", "table.csv") == path
    assert server.asked == ["/whole"]


def test_a_file_that_changed_is_fetched_again(server):
    path = sources.download(f"{server.url}/whole", "table.csv")
    path.write_bytes(b"something else")
    assert sources.download(f"{server.url}/whole", "table.csv").read_bytes() == BODY
    assert server.asked == ["/whole"] * 2


@pytest.mark.parametrize(
    "path, settings, reason",
    [
        ("/truncated", {}, "IncompleteRead|Connection broken|content-length"),
        ("/broken", {}, "500 Server Error"),
        ("/whole", {"checksum": "0" * 64}, "hash|SHA256"),
        ("/whole", {"checksum": "sha1:" + "0" * 40}, "hash|SHA256"),
        ("/slow", {"timeout": 0.3}, "timed out"),
    ],
)
def test_nothing_half_written_is_kept(server, path, settings, reason):
    with pytest.raises(HarnessError, match=reason) as error:
        sources.download(f"{server.url}{path}", "table.csv", **settings)
    assert "table.csv could not be downloaded from http://127.0.0.1" in str(error.value)
    assert left_over() == []
    assert sources.download(f"{server.url}/whole", "table.csv").read_bytes() == BODY


def test_a_server_that_is_not_there(server):
    with pytest.raises(HarnessError, match="Nothing of it was kept; try again, or put the file at"):
        sources.download("http://127.0.0.1:9/table", "table.csv")


def write_authors_archive(folder, task_type="binclass"):
    rng, folder = np.random.default_rng(0), folder / "covtype"
    folder.mkdir()
    for part, n in (("train", 60), ("val", 20), ("test", 20)):
        np.save(folder / f"N_{part}.npy", rng.normal(size=(n, 3)).astype(np.float32))
        np.save(folder / f"C_{part}.npy", rng.choice(["a", "b"], size=(n, 2)))
        np.save(folder / f"y_{part}.npy", np.arange(n) % 2)
    (folder / "info.json").write_text(json.dumps({"task_type": task_type, "name": "x"}))
    return folder


def test_the_authors_archive(tmp_path):
    write_authors_archive(tmp_path)
    dataset = load(Source("covtype", archive=str(tmp_path)))
    assert dataset.task == "binary" and [
        len(X) for X, _ in (dataset.train, dataset.val, dataset.test)
    ] == [60, 20, 20]
    assert (
        list(dataset.train[0].columns) == ["n0", "n1", "n2", "c0", "c1"] and dataset.has_categories
    )
    assert type(dataset.search_data) is SearchData and not hasattr(dataset.search_data, "test")


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda folder: (folder / "info.json").unlink(), "it has no info.json"),
        (
            lambda folder: (folder / "info.json").write_text('{"task_type": "ranking"}'),
            "KeyError: 'ranking'",
        ),
        (lambda folder: (folder / "y_val.npy").unlink(), "y_val.npy"),
        (
            lambda folder: (folder / "N_test.npy").write_bytes(b"\x93NUMPY"),
            "cannot be read as the authors' archive",
        ),
    ],
)
def test_a_spoilt_archive(tmp_path, spoil, reason):
    folder = write_authors_archive(tmp_path)
    spoil(folder)
    with pytest.raises(HarnessError, match=reason):
        sources.read_archive(tmp_path, "covtype")


def test_checksums_tell_rows_and_split_apart():
    X, y = (
        pd.DataFrame({"a": np.arange(100.0), "b": list("xy") * 50}),
        pd.Series(np.arange(100.0), name="t"),
    )
    one, again, other_seed = (
        sources.from_table("t", X, y),
        sources.from_table("t", X, y),
        sources.from_table("t", X.assign(a=1.0), y),
    )
    assert (
        one.checksums == again.checksums and one.checksums["data"] != other_seed.checksums["data"]
    )
    split = pd.Series(["train"] * 60 + ["val"] * 20 + ["test"] * 20)
    assert sources.from_table("t", X, y, split).checksums["data"] == one.checksums["data"]
    assert sources.from_table("t", X, y, split).checksums["split"] != one.checksums["split"]


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "size": np.arange(60.0),
            "colour": ["red", "green", None] * 20,
            "sold": pd.date_range("2020-01-01", periods=60).astype(str),
            "price": np.arange(60) * 1.5,
            "kind": ["a", "b"] * 30,
            "part": ["train"] * 40 + ["test"] * 20,
        }
    )


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_a_table_of_the_user(tmp_path, table, suffix):
    path = tmp_path / f"my houses.{suffix}"
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    dataset = load(Source("my_houses", data=str(path), target="price", split="part"))
    assert dataset.name == "my_houses" and dataset.task == "regression"
    assert [len(X) for X, _ in (dataset.train, dataset.val, dataset.test)] == [32, 8, 20]
    assert list(dataset.train[0].columns) == ["size", "colour", "sold", "kind"]
    assert (dataset.train[0]["sold"].dtype.kind == "M") == (suffix != "parquet")
    assert load(Source("my_houses", data=str(path), target="kind")).task == "binary"
    assert (
        load(Source("my_houses", data=str(path), target="colour")).task == "binary"
    )  # rows without a target are left out


@pytest.mark.parametrize(
    "change, target, split, reason",
    [
        ({}, "prise", None, "the column 'prise' is unknown .*did you mean price"),
        ({}, "price", "parts", "the column 'parts' is unknown .*did you mean part"),
        ({"price": 7.0}, "price", None, "'price' is constant"),
        ({"price": np.nan}, "price", None, "'price' has no value at all"),
        (
            {"part": "training"},
            "price",
            "part",
            "must hold train, test and perhaps val, got 'training'",
        ),
    ],
)
def test_columns_of_no_use(tmp_path, table, change, target, split, reason):
    path = tmp_path / "table.parquet"
    table.assign(**change).to_parquet(path)
    with pytest.raises(HarnessError, match=reason):
        sources.read_file(path, target, split)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(HarnessError, match="no such file"):
        sources.read_file(tmp_path / "absent.csv", "y")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(HarnessError, match=r"broken.parquet is damaged or not what its name says"):
        sources.read_file(tmp_path / "broken.parquet", "y")
    with pytest.raises(HarnessError, match=r"takes a .csv or .parquet file, or openml:NUMBER"):
        sources.read_file(tmp_path / "table.xlsx", "y")
    with pytest.raises(HarnessError, match="no regression"):
        sources.from_table(
            "t",
            pd.DataFrame({"a": range(9)}),
            pd.Series(list("abcabcabc"), name="y"),
            task="regression",
        )


def test_openml_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TABDL_DATA", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(HarnessError, match="OpenML dataset 41168 could not be fetched"):
        load(Source("openml_41168", data="openml:41168"))


def test_openml_takes_a_number():
    with pytest.raises(HarnessError, match="takes the number of an OpenML dataset, got 'adult'"):
        load(Source("openml_adult", data="openml:adult"))


def test_openml_from_its_cache(tmp_path, monkeypatch):
    """The files that scikit-learn keeps of a dataset that it has fetched before."""
    monkeypatch.setenv("TABDL_DATA", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    arff = "@relation t\n@attribute a numeric\n@attribute kind {x,y}\n@data\n" + "".join(
        f"{i},{'xy'[i % 2]}\n" for i in range(50)
    )
    description = {
        "id": "7",
        "name": "t",
        "description": "",
        "version": "1",
        "status": "active",
        "format": "ARFF",
        "file_id": "9",
    }
    description |= {
        "url": "https://openml.org/data/v1/download/9/t.arff",
        "default_target_attribute": "kind",
    }
    description |= {"md5_checksum": hashlib.md5(arff.encode()).hexdigest()}
    features = [
        {"index": str(i), "name": name, "data_type": kind}
        for i, (name, kind) in enumerate(OPENML_COLUMNS)
    ]
    features = [
        f
        | {
            "is_ignore": "false",
            "is_row_identifier": "false",
            "is_target": str(f["name"] == "kind").lower(),
            "number_of_missing_values": "0",
        }
        for f in features
    ]
    qualities = [{"name": "NumberOfInstances", "value": "50"}]
    for path, content in {
        "api/v1/json/data/7": json.dumps({"data_set_description": description}),
        "api/v1/json/data/features/7": json.dumps({"data_features": {"feature": features}}),
        "api/v1/json/data/qualities/7": json.dumps({"data_qualities": {"quality": qualities}}),
        "data/v1/download/9/t.arff": arff,
    }.items():
        file = tmp_path / "openml" / "openml" / "openml.org" / f"{path}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content.encode()))
    dataset = load(Source("openml_7", data="openml:7"))
    monkeypatch.setitem(public.OPENML, "seven", (7, "binary", 50))
    drawn = load(sample("seven", "openml", 20))
    assert [len(X) for X, _ in drawn.train_val_test] == [16, 4, 30]
    monkeypatch.setitem(public.OPENML, "seven", (7, "binary", 51))
    with pytest.raises(HarnessError, match="7 has 50 rows, seven should have 51"):
        load(sample("seven", "openml", 30))
    recorded = sources.data_home() / "checksums.json"
    recorded.write_text(json.dumps({"openml 7": "0" * 64}))
    monkeypatch.setitem(public.OPENML, "seven", (7, "binary", 50))
    with pytest.raises(HarnessError, match="openml 7 is not what it was when it was first"):
        load(sample("seven", "openml", 30))
    assert dataset.task == "binary" and dataset.name == "openml_7"
    assert [len(X) for X, _ in (dataset.train, dataset.val, dataset.test)] == [32, 8, 10]


def test_libsvm_and_ranking_files(tmp_path, monkeypatch):
    with bz2.open(tmp_path / "e.bz2", "wt") as file:
        file.write("-1 1:0.5 2:0.25\n+1 1:1 2:2\n")

    def read(n_rows, n_features=2, **how):
        with bz2.open(tmp_path / "e.bz2") as lines:
            return public.read_svmlight(lines, n_rows, n_features, "e.bz2", **how)

    monkeypatch.setattr(public, "PIECE", 1)
    X, y = read(2, is_dense=True)
    assert X.tolist() == [[0.5, 0.25], [1, 2]] and y.tolist() == [-1, 1]
    for n_rows, n_features, line in (
        (3, 2, "2 rows instead of 3"),
        (1, 2, "rows 2 to 2 do not all have 2 numbers, or are too many"),
        (2, 3, "rows 1 to 1 do not all have 3 numbers"),
        (2, 1, "after row 0: "),
    ):
        with pytest.raises(HarnessError, match=line):
            read(n_rows, n_features, is_dense=True)
    ranked = iter([b"2 qid:1 1:0.5 3:7 # a comment\n", b"0 qid:1 2:1\n"])
    X, y = public.read_svmlight(ranked, 2, 3, "ranking")
    assert X.tolist() == [[0.5, 0, 7], [0, 1, 0]] and y.tolist() == [2, 0]


def test_tables_with_a_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("TABDL_DATA", str(tmp_path))
    with pytest.raises(
        HarnessError,
        match=r"yahoo needs a licence that only you can accept.*set1.train.txt.*manual/yahoo",
    ):
        load(Source("yahoo"))
    folder = tmp_path / "manual" / "microsoft"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "MSLR-WEB10K.zip", "w") as archive:
        for part in ("train", "vali", "test"):
            archive.writestr(f"Fold1/{part}.txt", "1 qid:1 1:3 136:4\n" * 3)
    with pytest.raises(
        HarnessError,
        match=re.escape("MSLR-WEB10K.zip: 3 rows instead of 723412"),
    ):
        load(Source("microsoft"))


def test_the_table_of_eleven():
    """Sizes, tasks and rule of the paper's table 2."""
    assert list(ELEVEN) == list(PAPER["scores"])
    assert datasets.SMOKE.keys().isdisjoint(ELEVEN)
    for entry in ELEVEN.values():
        assert entry.fetch is not None or entry.n_features in (8, 14)
    rows = split_rows(np.arange(581_012) % 7, "multiclass")
    assert tuple(map(len, rows)) == ELEVEN["covtype"].sizes


def test_class_codes_are_in_numeric_order():
    y = pd.Series(["0", "10", "2", "1", "10"], dtype="category")
    assert public.class_codes(y).tolist() == [0, 3, 2, 1, 3]
    y = pd.Series(["b", "a", "b"], dtype=pd.CategoricalDtype(["b", "a"]))
    assert public.class_codes(y).tolist() == [0, 1, 0]


def test_a_table_of_other_classes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TABDL_DATA", str(tmp_path))
    entry = ELEVEN["higgs_small"]
    for ones, line in ((51_827, None), (51_000, "rows in its first classes, the paper (46223")):
        y = np.zeros(98_050, np.int64)
        y[:ones] = 1
        parts = np.split(y, np.cumsum(entry.sizes)[:2])
        archive = [(np.zeros((len(part), 1)), part) for part in parts]
        folder = tmp_path / "prepared" / "higgs_small"
        sources.write_archive(folder, "binary", archive)
        load.cache_clear()
        if line is None:
            assert load(Source("higgs_small")).task == "binary"
        else:
            with pytest.raises(HarnessError, match=re.escape(line)):
                load(Source("higgs_small"))


def test_the_mirror_of_the_splits(server, monkeypatch):
    """A file whose checksum is another is not kept."""
    monkeypatch.setattr(public, "AUTOGLUON", server.url)
    with pytest.raises(HarnessError, match="autogluon-helena-train.csv could not be downloaded"):
        load(Source("helena", archive="autogluon"))
    assert server.asked[0] == "/helena/train.csv"
    csv = b"".join(b"%d,%d,%d\n" % (i, 2 * i, i % 3) for i in range(40))
    monkeypatch.setitem(globals(), "BODY", b"a,b,target\n" + csv)
    sha1 = hashlib.sha1(BODY).hexdigest()
    monkeypatch.setitem(public.AUTOGLUON_SHA1, "helena", (sha1,) * 3)
    with pytest.raises(HarnessError, match=re.escape("helena has (40, 40, 40) rows in its parts")):
        load(Source("helena", archive="autogluon"))
    with pytest.raises(HarnessError, match="autogluon has helena, .* not yahoo"):
        load(Source("yahoo", archive="autogluon"))


def test_the_authors_tar_file(server, tmp_path, monkeypatch):
    """Downloaded and unpacked once, and refused where it is no tar file."""
    monkeypatch.setattr(public, "AUTHORS", f"{server.url}/whole")
    with pytest.raises(HarnessError, match="data.tar.gz cannot be unpacked"):
        load(Source("covtype", archive="authors"))
    (tmp_path / "data").mkdir()
    write_authors_archive(tmp_path / "data")
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "data", "data")
    monkeypatch.setitem(globals(), "BODY", (tmp_path / "data.tar.gz").read_bytes())
    (sources.data_home() / "data.tar.gz").unlink()
    (sources.data_home() / "checksums.json").unlink()
    with pytest.raises(HarnessError, match=re.escape("covtype has (60, 20, 20) rows")):
        load(Source("covtype", archive="authors"))


def test_the_split_of_the_later_papers():
    """The same test rows; a fifth of the validation rows are the same."""
    from benchmarks.tables.datasets import with_split

    for name in ("california_housing", "adult"):
        later, papers = load(with_split(name, "later")), load(with_split(name))
        sets = [
            [set(map(hash, X.itertuples(index=False, name=None))) for X, _ in d.train_val_test]
            for d in (later, papers)
        ]
        assert [len(X) for X, _ in later.train_val_test] == [
            len(X) for X, _ in papers.train_val_test
        ]
        assert sets[0][2] == sets[1][2] and len(sets[0][1] & sets[1][1]) < 0.25 * len(sets[0][1])
    with pytest.raises(HarnessError, match="known for california_housing, adult, not for helena"):
        with_split("helena", "later")
