"""The nearest rows of the same label are those that scikit-learn finds."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from tabdl.data.neighbours import N_NEIGHBOURS, labels_of, with_neighbours
from tabdl.data.table import Table

CPU = torch.device("cpu")


def seeded():
    return torch.Generator().manual_seed(0)


def table(n_rows, n_num=3, n_cat=2):
    x_num = 100 + torch.randn(n_rows, n_num, generator=seeded()) * torch.tensor([1.0, 9.0, 0.1])
    x_cat = torch.randint(3, (n_rows, n_cat), generator=seeded()).byte()
    return Table(x_num[:, :n_num], x_cat)


def found_rows(rows, labels, **options):
    """Return the rows that are the neighbours of each row, (N, K), and the number of donors."""
    number = torch.arange(len(rows)).view(-1, 1).int()
    own, donors = with_neighbours(
        Table(rows.x_num, rows.x_cat, number), labels, seeded(), CPU, **options
    )
    assert own.neighbours.shape == (len(rows), N_NEIGHBOURS) and own.y is number
    return donors.y[own.neighbours.long(), 0].numpy(), len(donors)


@pytest.mark.parametrize("n_num, n_cat", [(3, 2), (3, 0)])
def test_neighbours_are_the_nearest_rows_of_the_label(n_num, n_cat):
    rows = table(90, n_num, n_cat)
    labels = torch.arange(90) % 3
    found, n_donors = found_rows(rows, labels)
    assert n_donors == 90
    scaled = ((rows.x_num - rows.x_num.mean(0)) / rows.x_num.std(0, correction=0)).numpy()
    x = np.concatenate([scaled, *(np.eye(3)[codes] for codes in rows.x_cat.long().T)], 1)
    for label in range(3):
        own = np.flatnonzero(labels == label)
        search = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(x[own])
        expected = own[search.kneighbors(return_distance=False)]
        np.testing.assert_array_equal(np.sort(found[own]), np.sort(expected))


def test_equal_rows_of_categories_alone_are_nearest():
    rows = Table(torch.empty(40, 0), (torch.arange(40) % 2).view(-1, 1))
    found, _ = found_rows(rows, torch.zeros(40, dtype=torch.int64))
    assert (found % 2 == np.arange(40)[:, None] % 2).all()
    assert (found != np.arange(40)[:, None]).all()


def test_a_constant_number_and_rare_labels():
    rows = table(30)
    rows.x_num[:, 1] = 5.0
    labels = torch.tensor([0] + [1] * 3 + [2] * 26)
    found, _ = found_rows(rows, labels)
    assert (found[0] == 0).all()
    assert {*found[1]} == {2, 3} and {*found[2]} == {1, 3}
    assert all(len({*own}) == N_NEIGHBOURS for own in found[4:])


def test_of_many_rows_a_sample_are_donors():
    rows, labels = table(4000), (torch.arange(4000) % 20 == 0).long()
    found, n_donors = found_rows(rows, labels, most_donors=400)
    # 380 of one label; of the other one not 20 but a hundred.
    assert n_donors == 480 and len({*found.ravel()}) <= 480
    np.testing.assert_array_equal(labels[found], labels[:, None].expand(-1, N_NEIGHBOURS))
    assert (found != np.arange(4000)[:, None]).all()


# --- labels


def test_labels_of_classes_are_their_combinations():
    codes = torch.tensor([2, 0, 2, 1])
    assert labels_of(codes, True).tolist() == codes.tolist()
    both = torch.tensor([[0.0, 1], [1, 1], [0, 1], [1, 0]])
    assert labels_of(both, True).tolist() == [0, 2, 0, 1]


def test_labels_of_numbers_are_tenths():
    y = torch.randn(1000, 1, generator=seeded()).exp()
    labels = labels_of(y, False)
    assert labels.bincount().tolist() == [100] * 10
    ends = [y[labels == label].aminmax() for label in range(10)]
    assert all(below.max < above.min for below, above in pairwise(ends))


def test_equal_numbers_have_one_label():
    y = torch.cat([torch.zeros(70), torch.ones(10), torch.arange(20.0)]).view(-1, 1)
    labels = labels_of(y, False)
    assert len(labels[y[:, 0] == 0].unique()) == 1


def test_several_numbers_have_about_ten_combinations():
    y = torch.randn(2000, 3, generator=seeded())
    assert len(labels_of(y, False).unique()) == 8
    assert len(labels_of(y[:, :2], False).unique()) == 9
