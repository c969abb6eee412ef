"""The hosts of the scenario as fixtures."""

from hosts import browser, client, curl, target

__all__ = ["browser", "client", "curl", "target"]
