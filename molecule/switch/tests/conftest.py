"""The hosts of the scenario as fixtures."""

from hosts import client, curl

__all__ = ["client", "curl"]
