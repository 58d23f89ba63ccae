"""A run whose saves count batches, from anchors or from the start of the data, resumes exactly: a
spread here, all of it in the long suite.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from ckptkit.run.manifest import read_manifest
from tests.campaigns.exact.compare import Comparison
from tests.campaigns.exact.test_fit import DATA, MOMENTS
from tests.campaigns.exact.test_loop import run
from tests.campaigns.exact.test_positions import check_positions
from tests.support.spread import spread

POLICIES: list[Any] = [1, 3, 7, "none", "adaptive"]
LOOP_DATA = ["shuffle", "two_shuffles", "cache", "repeat", "shuffled", "concatenate"]
DEATHS = [{"batch": [0, 3]}, {"evaluation": [1, 2]}, {"batch": [2, 5]}]


def spread_pairs(kinds: list[str], short: int) -> list[Any]:
    """All pairs of data and policy; a few of them belong to the short suite."""
    pairs = list(itertools.product(kinds, POLICIES))
    return spread(pairs, max(len(pairs) // short, 1))


@pytest.mark.parametrize(("kind", "anchors"), spread_pairs(DATA, 8))
def test_fit(kind: str, anchors: Any, tf_process: Any, tmp_path: Path) -> None:
    Comparison(tf_process, tmp_path, data=kind, anchors=anchors).check(DEATHS, save=2)


@pytest.mark.parametrize(("kind", "anchors"), spread_pairs(LOOP_DATA, 5))
def test_loop(kind: str, anchors: Any, tf_process: Any, tmp_path: Path) -> None:
    plain = run(tf_process, tmp_path / "plain", [], data=kind)
    deaths = [{"die": 4}, {"die": 9, "signal": "SIGTERM"}, {"die": 10}]
    again = run(tf_process, tmp_path / "interrupted", deaths, data=kind, anchors=anchors)
    assert again == plain


@pytest.mark.parametrize("anchors", spread(POLICIES, 4))
def test_two_passes_in_an_epoch(anchors: Any, tf_process: Any, tmp_path: Path) -> None:
    options = {"data": "shuffle", "second": "two_shuffles"}
    plain = run(tf_process, tmp_path / "plain", [], **options)
    deaths = [{"die": 15}, {"die": 17}, {"die": 12, "signal": "SIGTERM"}]
    again = run(tf_process, tmp_path / "interrupted", deaths, **options, anchors=anchors)
    assert again == plain


def test_checkpoints_share_an_anchor(tf_process: Any, tmp_path: Path) -> None:
    """Each has the files of the newest anchor, as further names of the same bytes."""
    comparison = Comparison(
        tf_process, tmp_path, data="two_shuffles", anchors=3, epochs=1, validation=False
    )
    comparison.interrupted([], save=1, keep="all")
    found: dict[int, list[tuple[int, int]]] = {}
    for directory in (comparison.run / "checkpoints").glob("ckpt-*"):
        manifest = read_manifest(directory)
        for anchor in manifest.anchors:
            assert anchor.drawn == manifest.step
            if manifest.step < 3:  # counted from the start
                assert not anchor.name
                continue
            (data,) = directory.glob(f"{anchor.name}.data-*")
            status = data.stat()
            found.setdefault(anchor.batches, []).append((status.st_ino, status.st_nlink))
    assert sorted(found) == [3, 6, 9]
    for shared in found.values():
        assert len({inode for inode, _ in shared}) == 1
        assert {links for _, links in shared} == {len(shared)}


def test_batches_are_counted_with_steps_per_execution(tf_process: Any, tmp_path: Path) -> None:
    """Four batches in a call, and the last call of an epoch has three."""
    comparison = Comparison(
        tf_process, tmp_path, data="two_shuffles", model="steps_per_execution", anchors=4
    )
    comparison.check([{"after": 2}, {"after": 4}], save=1, keep="all")
    counted = []
    for directory in (comparison.run / "checkpoints").glob("ckpt-*"):
        manifest = read_manifest(directory)
        for anchor in manifest.anchors:
            assert anchor.drawn == manifest.batch
            counted.append((bool(anchor.name), anchor.since))
        # The end of training has no position in an epoch.
        assert manifest.anchors or manifest.final, f"{directory.name} has the state of the data"
    assert (True, 0) in counted
    assert len(counted) > 2


@pytest.mark.parametrize("anchors", spread([3, "none"], 2))
def test_every_sixth_position(anchors: Any, tf_process: Any, tmp_path: Path) -> None:
    check_positions(
        range(5, 34, 6), "two_shuffles", tf_process, tmp_path, validation=False, anchors=anchors
    )


@pytest.mark.long
@pytest.mark.parametrize("anchors", POLICIES)
@pytest.mark.parametrize("kind", ["shuffle_global_seed", "two_shuffles", "repeat", "cache"])
def test_every_position(kind: str, anchors: Any, tf_process: Any, tmp_path: Path) -> None:
    check_positions(range(1, 34), kind, tf_process, tmp_path, anchors=anchors)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "moment", "anchors"), list(itertools.product(DATA, MOMENTS, POLICIES))
)
def test_every_kind_at_every_moment(
    kind: str, moment: str, anchors: Any, tf_process: Any, tmp_path: Path
) -> None:
    Comparison(tf_process, tmp_path, data=kind, anchors=anchors).check(MOMENTS[moment], save=1)
