"""The hosts of the scenario as fixtures."""

from hosts import client, curl, target

__all__ = ["client", "curl", "target"]
