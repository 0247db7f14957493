"""What can be wrong with an ECG or a model, as exceptions.

HisbundleError
+-- EcgError      the samples, leads or rate cannot be what their sender says
+-- BundleError   a model bundle is incomplete, altered or of another format
+-- DatasetError  a data set folder is not what its name says
"""


class HisbundleError(Exception):
    """Base of every error that Hisbundle raises on purpose.

    Attributes:
        reason: stable code for machines, such as `lead-unknown`; never reworded.
        detail: one sentence for people; carries no patient data.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["HisbundleError"], tuple[str, str]]:
        """Survive the way between Celery's processes."""
        return type(self), (self.reason, self.detail)


class EcgError(HisbundleError):
    """The ECG cannot be what its sender says it is."""


class BundleError(HisbundleError):
    """The model bundle is incomplete, altered, or of a format this version does not know."""


class DatasetError(HisbundleError):
    """The data set folder lacks what its layout promises."""
