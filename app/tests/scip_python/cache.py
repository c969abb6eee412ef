"""A cache of fixed size."""


class Cache:
    """Keeps the newest values."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.values: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self.values.get(key)

    def put(self, key: str, value: str) -> None:
        if len(self.values) >= self.size:
            self.values.pop(next(iter(self.values)))
        self.values[key] = value
