"""Embeddings given by the organisers: found by what they belong to, never by position alone."""

import numpy as np
import pytest
from support.folders import CSV_LABELED, competition_of, touch, write

from kit.core.errors import InputError
from kit.data.table import read_table
from kit.data.table.embeddings import read_embeddings


def embeddings_of(tmp_path, values, *data):
    np.save(tmp_path / "data" / "embeddings.npy", values)
    given = competition_of(tmp_path, 'embeddings = "embeddings.npy"', *data)
    table = read_table(given)
    return table, read_embeddings(given, table)


@pytest.fixture
def pool_keys(data):
    touch(data, "pool/1.jpg", "pool/2.jpg", "pool/3.jpg")
    write(data / "pool.csv", "id\n3\n1\n2\n")
    return 'labeled = "train"', 'unlabeled = { csv = "pool.csv", images = "pool" }'


def test_embeddings_follow_the_listing_not_the_row_order(tmp_path, pool_keys):
    table, embeddings = embeddings_of(tmp_path, np.array([[3.0], [1.0], [2.0]]), *pool_keys)
    assert embeddings.dtype == np.float32 and embeddings.shape == (7, 1)
    pool = table["split"] == "unlabeled"
    assert dict(zip(table["id"][pool], embeddings[pool, 0], strict=True)) == {"1": 1, "2": 2, "3": 3}
    assert np.isnan(embeddings[~pool]).all()


def test_embeddings_of_a_listed_labelled_image_are_found_by_its_file(tmp_path, listed):
    touch(listed, "images/5.jpg")
    write(listed / "all.csv", "id\n5\n000002\n000001\n")
    pool = 'unlabeled = { csv = "all.csv", images = "images" }'
    _, embeddings = embeddings_of(tmp_path, np.array([[5.0], [2.0], [1.0]]), CSV_LABELED, pool)
    assert np.array_equal(embeddings[:, 0], [1, 2, np.nan, np.nan, 5], equal_nan=True)


def test_embeddings_of_the_whole_table_are_taken_as_they_are(tmp_path, pool_keys):
    values = np.arange(1, 15, dtype=np.float32).reshape(7, 2)
    assert np.array_equal(embeddings_of(tmp_path, values, *pool_keys)[1], values)


def test_embeddings_of_another_number_of_rows_are_refused_with_both_counts(tmp_path, pool_keys):
    with pytest.raises(InputError, match=r"5 rows for 7 images in the table or 3 rows in pool\.csv"):
        embeddings_of(tmp_path, np.ones((5, 2)), *pool_keys)


@pytest.mark.parametrize(("value", "cause"), [(0.0, "all zero"), (np.nan, "not finite")])
def test_an_embedding_that_says_nothing_is_refused_with_its_row(tmp_path, pool_keys, value, cause):
    values = np.ones((3, 2))
    values[1] = value
    with pytest.raises(InputError, match=rf"row 1 \(counted from 0\) is {cause}"):
        embeddings_of(tmp_path, values, *pool_keys)


def test_a_pickled_array_is_refused(tmp_path, pool_keys):
    with pytest.raises(InputError, match=r"not an array in numpy's \.npy form"):
        embeddings_of(tmp_path, np.array([[{}], [1], [2]], dtype=object), *pool_keys)


def test_no_embeddings_are_none(tmp_path, data):
    given = competition_of(tmp_path, 'labeled = "train"')
    assert read_embeddings(given, read_table(given)) is None
