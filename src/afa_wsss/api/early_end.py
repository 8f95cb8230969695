"""What is left of a run that ends early: a report where values were not finite, and the exit code after a signal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning

from afa_wsss.errors import UserError
from afa_wsss.report.results import RunInfo, read_history, write_report
from afa_wsss.training.callbacks.nonfinite import NOT_FINITE, NonFinite
from afa_wsss.training.callbacks.signals import Stopped, interrupted, leave, was_launched


@contextmanager
def early_end(
    trainer: lightning.Trainer, stopped: Callable[[], None], *, folder: Path, info: Callable[[], RunInfo]
) -> Iterator[None]:
    """Around the training of a run.

    Args:
        trainer: With ``Signals`` and ``NonFinite``.
        stopped: Called where it ends early, after the state was saved.
        folder: Folder of the run.
        info: For the report of a run that has ended because a loss or gradient was not finite.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
        Stopped: After another signal; a ``SystemExit`` with the code that shells have for it.
    """
    try:
        yield
    except Stopped as signal:
        stopped()
        leave(trainer, signal)
    except SystemExit as ended:
        stopped()
        if interrupted(ended):
            raise KeyboardInterrupt from None
        raise
    except BaseException as error:
        stopped()
        if isinstance(error, UserError) and error.kind == NOT_FINITE:
            if not trainer.is_global_zero and was_launched(trainer):
                raise SystemExit(0) from None  # the first process says it, and would be killed for another code
            scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
            write_report(folder, scores, info(), read_history(folder / "logs" / "metrics.csv"), [])
        raise


def with_not_finite(info: RunInfo, trainer: lightning.Trainer) -> RunInfo:
    """``info`` with the steps that were left out because a loss or gradient was not finite, if any were."""
    parts = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    found = [one for part in parts if isinstance(part, NonFinite) for one in part.found]
    if not found:
        return info
    step, cause = found[0]
    fact = ("steps not finite", f"{len(found):,}, the first is step {step:,}: {cause}")
    return info._replace(facts=[*info.facts, fact], not_finite=[step - 1 for step, _ in found])
