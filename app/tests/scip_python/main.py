from cache import Cache


def get(name: str) -> str:
    """Has the name of a method that has nothing to do with it."""
    return name


def main() -> None:
    cache = Cache(2)
    cache.put("a", get("b"))
    print(cache.get("a"))
