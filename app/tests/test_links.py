import pytest
from codeintel.errors import CodeintelError
from codeintel.links import Place, check_template, linked, on_page, parse_id
from hypothesis import given
from hypothesis import strategies as st

TEMPLATE = "https://forge.example/me/{repository}/blob/{commit}/{path}#L{start}-L{end}"
PLACE = Place("main", "src/a b#c.py", 3, 9)


def test_urls_of_a_forge() -> None:
    url = linked(PLACE, "abc", "", TEMPLATE)
    assert url == "https://forge.example/me/main/blob/abc/src/a%20b%23c.py#L3-L9"
    assert "/blob/HEAD/app/src/a%20b" in linked(PLACE, None, "app/", TEMPLATE)


def test_urls_of_the_page_of_the_server() -> None:
    url = on_page(PLACE, "https://mcp.example.com")
    assert url == "https://mcp.example.com/#main/src/a%20b%23c.py:3-9"


@given(
    st.text(min_size=1, alphabet=st.characters(exclude_characters="/#")),
    st.text(min_size=1),
    st.integers(1, 10**7),
    st.integers(0, 10**6),
)
def test_an_id_names_its_place(repository: str, path: str, start: int, more: int) -> None:
    place = Place(repository, path, start, start + more)
    assert parse_id(str(place)) == place


def test_an_id_may_name_a_whole_file() -> None:
    assert parse_id("main/a.py") == Place("main", "a.py")
    assert parse_id("main/a.py#L7") == Place("main", "a.py", 7, 7)


@pytest.mark.parametrize("value", ["", "main", "main/", "/a.py", "#L1-L2"])
def test_what_is_no_id(value: str) -> None:
    with pytest.raises(CodeintelError, match="is not an id; pass one of search"):
        parse_id(value)


def test_templates() -> None:
    assert check_template(TEMPLATE) == TEMPLATE
    assert check_template("") == ""
    for wrong in ("{branch}", "https://x/{path.__class__}", "https://x/{}", "https://x/{path"):
        with pytest.raises(ValueError, match=r"braces|expected"):
            check_template(wrong)
    with pytest.raises(ValueError, match="begin with http"):
        check_template("javascript:{path}")
