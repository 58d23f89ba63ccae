"""Taking away what the keep policy gave up; only ever after a commit."""

from __future__ import annotations

from ckptkit.log import logger
from ckptkit.policies import Candidate, KeepPolicy, decide
from ckptkit.store.catalog import list_checkpoints
from ckptkit.store.commit import take_away
from ckptkit.store.events import TakenAway
from ckptkit.store.files import FileSystem
from ckptkit.store.journal import Journal
from ckptkit.store.layout import RunLayout
from ckptkit.store.tidying import tidying


def retain(files: FileSystem, layout: RunLayout, journal: Journal, policy: KeepPolicy) -> None:
    """Applies a keep policy to a run. A checkpoint whose manifest cannot be read, or that cannot be taken away, is left where it is.

    Raises:
        StorageError: where the directory cannot be read, or the journal not written.
    """
    readable = [checkpoint for checkpoint in list_checkpoints(layout) if checkpoint.problem is None]
    kept = decide(policy, [Candidate(name=str(c.name), step=c.step, metrics=c.metrics) for c in readable])
    for checkpoint in readable:
        if str(checkpoint.name) not in kept:
            with tidying(journal, f"take away {checkpoint.name}"):
                take_away(files, layout, checkpoint.name)
                journal.record(TakenAway(checkpoint=str(checkpoint.name), reason=f"not kept by {policy!r}"))
                logger.debug("took away %s: not kept by %r", checkpoint.name, policy)
