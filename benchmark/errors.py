"""User errors of the harness, in addition to those of `clothclf`."""

from __future__ import annotations

from clothclf.errors import UserError


class StoreError(UserError):
    """The tracking folder, which holds runs and records, cannot be used."""


class TrackingError(UserError):
    """The MLflow store or tracking server cannot be used."""


class ReportError(UserError):
    """There is nothing to report, or the output cannot be written."""


class SelectError(UserError):
    """A selection cannot be started or resumed."""


class ExportError(UserError):
    """A model cannot be exported, or the exported model's predictions differ."""


class ClusterError(UserError):
    """The cluster is not reachable, or its nodes cannot be used."""


class DeployError(UserError):
    """A variant cannot be built or measured, or a kit or its result cannot be used."""


class CurveError(UserError):
    """A learning curve cannot be measured."""


class PackError(UserError):
    """A pack of runs cannot be written, read or verified."""
