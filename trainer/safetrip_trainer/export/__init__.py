"""From a checkpoint to a bundle: the deploy graph, simplified, and checked against torch."""

from safetrip_trainer.export.bundle import export_bundle
from safetrip_trainer.export.graph import DeployGraph

__all__ = ["DeployGraph", "export_bundle"]
