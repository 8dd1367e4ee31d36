"""Near-duplicates: copies share a cluster, look-alikes do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.pictures import tabulate, texture

from kit.data.audit import duplicates
from kit.data.audit.duplicates import group_near_duplicates
from kit.data.audit.facts import audit_files


def cluster(paths: list[Path], cache: Path, **columns: object) -> list[int]:
    """Return the cluster of each file."""
    table = tabulate(paths, **columns)
    return group_near_duplicates(table, audit_files(table, cache), cache).tolist()


def test_recompressed_and_resized_copies_share_a_cluster_and_others_do_not(tmp_path):
    paths = []
    for seed in range(60):
        image = texture(seed)
        paths += [tmp_path / f"{seed}_{copy}.jpg" for copy in range(3)]
        image.save(paths[-3], quality=95)
        image.save(paths[-2], quality=30)
        image.resize((60, 50)).save(paths[-1], quality=60)
    assert cluster(paths, tmp_path / "cache") == np.repeat(np.arange(0, 180, 3), 3).tolist()


def test_objects_on_one_background_are_not_duplicates(tmp_path):
    background = np.asarray(texture(0, (64, 64), detail=3)).astype(float) / 4 + 180
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for i, path in enumerate(paths):
        pixels = background.copy()
        pixels[20:44, 20:44] = np.asarray(texture(i + 1, (24, 24), detail=4))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    assert cluster(paths, tmp_path / "cache") == list(range(40))


def test_flat_images_are_not_duplicates_of_each_other(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(paths):
        Image.new("RGB", (64, 64), (50 * i, 90, 200 - 40 * i)).save(path)
    assert cluster(paths, tmp_path / "cache") == [0, 1, 2, 3]


def test_no_images_have_no_clusters(tmp_path):
    assert cluster([], tmp_path / "cache") == []


def test_small_images_share_a_cluster_only_when_their_bytes_are_equal(tmp_path):
    image = texture(1, (28, 28))
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.jpg")]
    image.save(paths[0])
    image.save(paths[1])
    image.save(paths[2], quality=95)
    assert cluster(paths, tmp_path / "cache") == [0, 0, 2]


def test_broken_files_of_equal_bytes_are_no_duplicates(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    texture(1).save(paths[0])
    paths[1].touch()
    paths[2].touch()
    assert cluster(paths, tmp_path / "cache") == [0, 1, 2]


def test_every_pair_of_a_cluster_is_near(tmp_path):
    first, last = np.asarray(texture(1)).astype(float), np.asarray(texture(2)).astype(float)
    paths = [tmp_path / f"{i:02d}.png" for i in range(13)]
    for share, path in zip(np.linspace(0, 1, 13), paths, strict=True):  # a chain of near steps between two images
        Image.fromarray(((1 - share) * first + share * last).astype(np.uint8)).save(path)
    table = tabulate(paths)
    facts = audit_files(table, tmp_path / "cache")
    clusters = group_near_duplicates(table, facts, tmp_path / "cache")
    assert clusters[0] != clusters[-1]
    assert 1 < len(set(clusters)) < 13
    hashes = facts["dhash"].to_numpy()
    for name in set(clusters):
        cluster_hashes = hashes[clusters == name]
        assert np.bitwise_count(cluster_hashes[:, None] ^ cluster_hashes[None]).max() <= duplicates.MAX_DISTANCE


def test_multi_index_hashing_finds_every_pair_that_comparing_all_finds():
    draws = np.random.default_rng(0)
    seeds = draws.integers(0, 2**63, 60, dtype=np.uint64)
    hashes = np.repeat(seeds, 5)
    for _ in range(4):
        hashes ^= np.uint64(1) << draws.integers(0, 64, len(hashes)).astype(np.uint64)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    wanted = np.argwhere(np.triu(distance <= duplicates.MAX_DISTANCE, 1))
    pairs = np.stack(duplicates._find_pairs(hashes), axis=1)
    assert pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist() == wanted.tolist()
    assert len(wanted) > 100


def test_a_cluster_too_large_for_its_class_is_reported_and_only_equal_files_stay_together(tmp_path, capsys):
    paths = [tmp_path / f"{i}.jpg" for i in range(9)]
    for i, path in enumerate(paths[:7]):
        texture(1).save(path, quality=60 + 5 * max(i, 1))  # 0 and 1 are equal
    for i, path in enumerate(paths[7:]):
        texture(5 + i).save(path)
    assert cluster(paths, tmp_path / "cache") == [0, 0, 2, 3, 4, 5, 6, 7, 8]
    message = " ".join(capsys.readouterr().err.split())
    assert "7 images look alike, too many to be grouped: labeled 0 (a), labeled 1 (a)" in message


def test_a_chain_of_near_labelled_images_shares_a_cluster_within_a_large_class(tmp_path):
    first, last = np.asarray(texture(1)).astype(float), np.asarray(texture(2)).astype(float)
    paths = [tmp_path / f"{i:02d}.png" for i in range(45)]
    for share, path in zip(np.linspace(0, 1, 13), paths[:13], strict=True):
        Image.fromarray(((1 - share) * first + share * last).astype(np.uint8)).save(path)
    for seed, path in enumerate(paths[13:]):
        texture(10 + seed).save(path)
    assert cluster(paths, tmp_path / "cache") == [0] * 13 + list(range(13, 45))


def test_twins_without_a_label_do_not_tear_labelled_twins_apart(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(12)]
    for i, path in enumerate(paths[:10]):
        texture(1).save(path, quality=50 + 4 * i)
    for i, path in enumerate(paths[10:]):
        texture(5 + i).save(path)
    split = ["labeled"] * 2 + ["unlabeled"] * 8 + ["labeled"] * 2
    assert cluster(paths, tmp_path / "cache", split=split) == [0] * 10 + [10, 11]
