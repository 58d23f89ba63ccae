"""Options that several workers cannot have: an error on each, before anything is compared."""

from __future__ import annotations

import pytest

from ckptkit.errors import ConfigError
from ckptkit.policies import Adopt
from ckptkit.run.adoption_request import AdoptionRequest, request_adoption
from ckptkit.session import job_opening
from ckptkit.session.job_option_check import check_no_request
from ckptkit.session.options import make_options
from ckptkit.storage.files import FileSystem


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"mirror": "s3://bucket/runs/x"}, "mirror="),
        ({"init_from": "runs/other"}, "init_from="),
        ({"adopt": Adopt("old")}, "adopt="),
    ],
)
def test_an_option_that_is_refused(given, named, tmp_path, monkeypatch):
    joined = []
    monkeypatch.setattr(job_opening, "job_strategy", lambda state: object())
    monkeypatch.setattr(job_opening, "joined", joined.append)
    with pytest.raises(ConfigError, match=named):
        job_opening.start_session(make_options(tmp_path / "run", {}, **given))
    assert not joined


def test_a_request_of_the_command_line_is_refused(tmp_path):
    options = make_options(tmp_path / "run", {})
    check_no_request(options)
    request = AdoptionRequest(source="old", epoch=None, step=None, strict=True)
    request_adoption(FileSystem(), options.layout, request)
    with pytest.raises(ConfigError, match=r"adopt\.json"):
        check_no_request(options)
