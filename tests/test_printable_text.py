"""Whatever is logged or raised has no control characters, wherever its parts come from."""

from __future__ import annotations

import logging
import pickle
import random

import pytest

import ckptkit
from ckptkit import errors
from ckptkit.log import logger
from ckptkit.printable_text import printable, sentence

OBEYED = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\x00\r"


def test_text_without_control_characters_stays_as_it_is(seed):
    chosen = random.Random(seed)
    text = "".join(chosen.choice("aé漢\n\t %{}😀") for _ in range(200))
    assert printable(text) == text
    odd = "".join(chr(chosen.randrange(0x110000)) for _ in range(500))
    shown = printable(odd)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    shown.encode()
    assert printable(shown) == shown


@pytest.mark.parametrize("argument", [OBEYED, ValueError(OBEYED), [OBEYED]], ids=repr)
def test_no_handler_gets_a_control_character(caplog, argument):
    with caplog.at_level(logging.INFO, "ckptkit"):
        logger.warning("the file %s has 100%% of %d", argument, 3)
    assert "100% of 3" in caplog.text
    assert printable(caplog.text) == caplog.text


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type)], ids=repr
)
def test_no_error_shows_one(kind):
    if not issubclass(kind, ckptkit.CheckpointError):
        return
    error = kind(f"a file named {OBEYED}")
    assert printable(str(error)) == str(error)
    assert "a file named" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_storage_error_keeps_its_number():
    error = ckptkit.StorageError(28, f"no space on {OBEYED}")
    assert (error.errno, printable(error.strerror)) == (28, error.strerror)
    assert isinstance(error, OSError)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("no space"), "no space."),
        (ckptkit.ConfigError("Expected a path."), "Expected a path."),
        (ValueError("which one?"), "which one?"),
        (ValueError(), "ValueError()."),
    ],
    ids=repr,
)
def test_another_sentence_may_follow_an_error(error, said):
    assert sentence(error) == said
