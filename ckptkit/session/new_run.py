"""Begins a run that has no checkpoint: with saved weights, if `init_from` names some."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ckptkit.load.adoption import AdoptionReport, adopt
from ckptkit.load.warm_start_loading import begin_from
from ckptkit.log import logger
from ckptkit.policies import Adopt
from ckptkit.report.ledger_builder import unsaved_attempts
from ckptkit.run import events
from ckptkit.run.adoption_request import requested_adoption
from ckptkit.run.journal import Journal
from ckptkit.run.journal_reader import read_journal
from ckptkit.session.options import RunOptions
from ckptkit.tracking.state_check import ensure_built


def named_values(options: RunOptions) -> str | None:
    """Return what names the values with which a new run would begin, or None if nothing does."""
    if options.init_from is not None:
        return "init_from"
    if options.adopt is not None:
        return "adopt"
    return None if _requested(options) is None else "`ckptkit adopt`"


def begin_new_run(
    options: RunOptions, users: Mapping[str, Any], journal: Journal
) -> AdoptionReport | None:
    """Begin a run that has no checkpoint of its own.

    Args:
        options: the options of the run.
        users: the objects of the program by name.
        journal: the journal of the attempt.

    Returns:
        What was adopted, or None.

    Raises:
        ConfigError, IncompatibleStateError, CheckpointNotFoundError, CorruptCheckpointError: If it
            cannot begin with what `init_from` or `adopt` names.
    """
    # Earlier attempts that were killed before their first save.
    for words in unsaved_attempts(read_journal(options.layout).events, options.clock.now()):
        logger.warning("%s: its training is lost, and begins again at step 0", words)
    given = options.adopt or _requested(options)
    if given is not None:
        return _adopt(given, options, users, journal)
    _load_initial_weights(options, users, journal)
    logger.info("new run in %s: step 0", options.layout.root)
    return None


def _requested(options: RunOptions) -> Adopt | None:
    """Return what `ckptkit adopt` has written, unless the program names weights itself."""
    request = requested_adoption(options.layout, options.files)
    if request is None or options.init_from is not None:
        return None
    return Adopt(request.source, request.epoch, request.step, request.strict)


def _adopt(
    given: Adopt, options: RunOptions, users: Mapping[str, Any], journal: Journal
) -> AdoptionReport:
    ensure_built(users)
    report = adopt(given, users)
    logger.info("new run in %s, adopted: %s", options.layout.root, report)
    journal.record(
        events.Adopted(
            system=report.system,
            source=report.source,
            step=report.step,
            epoch=report.epoch,
            matched=dict(report.matched),
            missing=list(report.missing),
        )
    )
    return report


def _load_initial_weights(options: RunOptions, users: Mapping[str, Any], journal: Journal) -> None:
    """Load the weights that `init_from` names, if it names any; see `begin_new_run`."""
    if options.init_from is None:
        return
    ensure_built(users)
    for name, begun in begin_from(options.init_from, users).items():
        report, start = begun.weights, begun.start
        logger.info(
            "the run begins with %d %s of %s from %s%s%s",
            len(report.matched),
            "averages of weights" if start.averages else "weights",
            name,
            report.source,
            ", and with its optimizer" if start.optimizer else "",
            f"; left out: {', '.join(begun.left_out)}" if begun.left_out else "",
        )
        journal.record(
            events.WarmStarted(
                name=name,
                source=os.fsdecode(report.source),
                weights=len(report.matched),
                left_out=list(begun.left_out),
                averages=start.averages,
                optimizer=start.optimizer,
            )
        )
