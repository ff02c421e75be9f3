"""Errors a user can act on: what was wrong, where, and what to do.

Every error that bad input can cause derives from `RtsError`, whose message is one line. The
command line prints it as `error: ...` and exits with code 2; notebooks show it as raised.
"""


class RtsError(Exception):
    """Base of all errors that the user, not the programmer, has to mend."""


class DataError(RtsError):
    """Input on disk breaks the data contract; names the file, what was found and expected.

    Args:
        where: file, or file and item in it (`instances.json, annotation 12`).
        found: what is there, as a noun phrase (`7 bands`).
        expected: what should be there (`8 bands: red, green, ...`).
        fix: what to do, if more helps than "make it so"; empty otherwise.
    """

    def __init__(self, where: object, found: str, expected: str, fix: str = "") -> None:
        self.where, self.found, self.expected, self.fix = str(where), found, expected, fix
        tail = f" ({fix})" if fix else ""
        super().__init__(f"{where}: found {found}, expected {expected}{tail}")

    def __reduce__(self) -> tuple:
        """Travel whole from a worker process."""
        return type(self), (self.where, self.found, self.expected, self.fix)


class ConfigError(RtsError):
    """A knob is unknown or has a value outside its range."""


class MissingModalityError(RtsError):
    """A model was asked to run without a modality that it cannot do without."""


class WeightsError(RtsError):
    """Weights cannot be reached, read, or do not fit the model."""


class EngineError(RtsError):
    """The engine that a config asks for is not installed."""


class TrainingError(RtsError):
    """Training cannot start or cannot go on."""


class NonFiniteLossError(TrainingError):
    """A loss became NaN or infinite; carries the loss dict (DETR's engine stops the same way).

    Args:
        losses: loss name -> float, as of the step that failed.
        step: optimiser steps done before it.
    """

    def __init__(self, losses: dict[str, float], step: int) -> None:
        self.losses, self.step = losses, step
        listed = ", ".join(f"{k}={v:.4g}" for k, v in losses.items())
        super().__init__(f"loss is not finite at step {step} ({listed}): lower `lr`, or look for bad values in chips")

    def __reduce__(self) -> tuple:
        """Travel whole from a worker process."""
        return type(self), (self.losses, self.step)


class OutputError(RtsError):
    """A result cannot be written, or would overwrite another one."""


class WorkbookError(RtsError):
    """A notebook was given a parameter it does not have, or failed."""


def one_line(error: BaseException) -> str:
    """Return another library's message on one line, as ours are; that of its cause where it only points there."""
    if "See previous exception" in str(error) and error.__cause__ is not None:  # rasterio's, of GDAL's
        return one_line(error.__cause__)
    return " ".join(str(error).split())
