"""What a user is told of a variable that is misspelt or malformed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.variables import (
    malformed,
    unknown,
)

KNOWN = ["app_domain", "app_name", "app_ports"]
NO_SHAPES: dict[str, dict[str, str]] = {}
DOMAIN = {"app_domain": {"pattern": r"[a-z.]+", "remedy": "give a host name in lower case"}}


def complaints(
    option: dict[str, Any], value: object, shapes: dict[str, dict[str, str]] = NO_SHAPES
) -> list[str]:
    return malformed({"app_domain": option}, {"app_domain": value}, shapes)


def test_known_names_and_names_of_others_pass() -> None:
    assert unknown(["app_name", "other_nmae", "ansible_host"], KNOWN, "app_") == []


def test_a_misspelt_name_gets_the_nearest_one_as_a_suggestion() -> None:
    assert unknown(["app_domian"], KNOWN, "app_") == [
        "app_domian is not a variable of this collection: did you mean app_domain?"
    ]


def test_a_name_unlike_any_other_gets_the_list_of_all() -> None:
    (complaint,) = unknown(["app_zzzzzzzzzzzzzzz"], KNOWN, "app_")
    assert complaint.endswith("known are: app_domain, app_name, app_ports")


def test_every_unknown_name_is_told_in_a_fixed_order() -> None:
    told = unknown(["app_ports2", "app_nam", "app_domains"], KNOWN, "app_")
    assert [complaint.split()[0] for complaint in told] == ["app_domains", "app_nam", "app_ports2"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ({"type": "str"}, "mcp.example.com"),
        ({"type": "str"}, ""),
        ({"type": "str"}, 8),
        ({"type": "path"}, "/srv"),
        ({"type": "int"}, 8),
        ({"type": "int"}, "8"),
        ({"type": "bool"}, "yes"),
        ({"type": "dict"}, {"a": 1}),
        ({"type": "list", "elements": "str"}, ["a", 1]),
        ({"type": "list", "elements": "dict"}, [{"a": 1}]),
        ({"type": "str", "choices": ["one", "two"]}, "two"),
    ],
)
def test_a_value_of_the_right_kind_passes(option: dict[str, Any], value: object) -> None:
    assert complaints(option, value) == []


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ({"type": "str"}, {"a": 1}, 'app_domain is {"a": 1}: give a string'),
        ({}, ["a"], 'app_domain is ["a"]: give a string'),
        ({"type": "path"}, ["/srv"], 'app_domain is ["/srv"]: give a string'),
        ({"type": "dict"}, "a=1", 'app_domain is "a=1": give a dictionary'),
        ({"type": "dict"}, ["a"], 'app_domain is ["a"]: give a dictionary'),
        ({"type": "list", "elements": "str"}, "/a", 'app_domain is "/a": give a list of strings'),
        (
            {"type": "list", "elements": "str"},
            ["/a", {"b": 1}],
            'app_domain is ["/a", {"b": 1}]: give a list of strings',
        ),
        ({"type": "list"}, {"a": 1}, 'app_domain is {"a": 1}: give a list'),
        ({"type": "int"}, "many", "app_domain is \"many\": argument 'app_domain' is of type"),
        ({"type": "bool"}, "perhaps", "app_domain is \"perhaps\": argument 'app_domain' is of"),
        (
            {"type": "list", "elements": "int"},
            [1, "two"],
            "app_domain is [1, \"two\"]: Elements value for option 'app_domain' is of type",
        ),
        (
            {"type": "str", "choices": ["one", "two"]},
            "three",
            'app_domain is "three": value of app_domain must be one of: one, two, got: three',
        ),
    ],
)
def test_a_value_of_another_kind_is_shown_with_what_to_give(
    option: dict[str, Any], value: object, told: str
) -> None:
    (complaint,) = complaints(option, value)
    assert complaint.startswith(told)


@pytest.mark.parametrize("value", ["Mcp.example", "https://mcp.example", "mcp.example\n", "", 5])
def test_a_value_of_another_shape_is_shown_with_the_remedy(value: object) -> None:
    (complaint,) = complaints({"type": "str"}, value, DOMAIN)
    assert complaint.startswith("app_domain is ")
    assert complaint.endswith(": give a host name in lower case")


def test_each_item_of_a_list_must_have_the_shape() -> None:
    option = {"type": "list", "elements": "str"}
    assert complaints(option, ["a.example", "b.example"], DOMAIN) == []
    assert complaints(option, ["a.example", "B"], DOMAIN) == [
        'app_domain is ["a.example", "B"]: give a host name in lower case'
    ]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ({"type": "int"}, "hunter2"),
        ({"type": "str"}, {"password": "hunter2"}),
        ({"type": "dict"}, "hunter2"),
        ({"type": "list", "elements": "int"}, ["hunter2"]),
        ({"type": "str", "choices": ["a"]}, "hunter2"),
        ({"type": "str"}, "HUNTER2 hunter2"),
    ],
)
def test_a_secret_is_never_shown(option: dict[str, Any], value: object) -> None:
    (complaint,) = complaints({**option, "no_log": True}, value, DOMAIN)
    assert complaint.startswith("app_domain is (hidden): ")
    assert "hunter2" not in complaint.lower()


def test_every_malformed_value_is_told() -> None:
    spec = {"app_name": {"type": "str"}, "app_ports": {"type": "int"}}
    told = malformed(spec, {"app_name": ["a"], "app_ports": "b"}, {})
    assert [complaint.split()[0] for complaint in told] == ["app_name", "app_ports"]


NETWORKS = ["192.0.2.1", "192.0.2.0/24", "255.255.255.255/32", "10.0.0.0/8", "::1", "::/3", "1::",
            "2001:db8::/48", "2001:DB8::5/128", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "fe80::ff:fecb:390a"]  # fmt: skip
NO_NETWORKS = ["192.0.2", "192.0.2.256", "192.0.2.0/33", "0.0.0.0/0", "192.0.2.1.", "192.0.2.1.5",
               "192.0.2.1/24/8", "01.2.3.4", "192.0.2.0/24  # office", "office.example.com", "443",
               "::/0", "2001:db8::/129", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::",
               "1::2::3", "12345::", "g::1", ":1", "1:", ":::", "fe80::1%eth0"]  # fmt: skip


@pytest.mark.parametrize("shown", [lambda n: n, lambda n: [n], lambda n: {"office": [n]}])
def test_networks_are_told_from_what_is_none(shown: Callable[[str], object]) -> None:
    shapes = {"role_nets": {"networks": True, "remedy": "give networks"}}

    def told(network: str) -> list[str]:
        value = shown(network)
        return malformed(
            {"role_nets": {"type": type(value).__name__}}, {"role_nets": value}, shapes
        )

    assert [network for network in NETWORKS if told(network)] == []
    assert [network for network in NO_NETWORKS if not told(network)] == []
