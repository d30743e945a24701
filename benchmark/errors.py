"""User errors of the harness, beside those of the library."""

from __future__ import annotations

from clothclf.errors import UserError


class StoreError(UserError):
    """The folder that holds runs and records cannot be used."""


class TrackingError(UserError):
    """The MLflow store or server cannot be used."""


class ReportError(UserError):
    """There is nothing to report, or it cannot be written."""


class SelectError(UserError):
    """A selection cannot be begun, or gone on with."""


class ExportError(UserError):
    """A model cannot be exported, or what was exported does not answer as it should."""


class ClusterError(UserError):
    """A cluster cannot be joined, or its nodes cannot be used."""
