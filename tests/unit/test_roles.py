"""The roles keep to one shape: documented variables, prefixed internals, named tasks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.variables import (
    COLLECTION_INPUTS,
)

TASK_KEYWORDS = {"block", "rescue", "always"}


def load(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options(role: Path) -> dict[str, dict[str, Any]]:
    specs = load(role / "meta/argument_specs.yml")
    return dict(specs["argument_specs"]["main"]["options"])


def tasks(role: Path) -> Iterator[dict[str, Any]]:
    """Yield the tasks and handlers of a role, those in blocks as well."""
    waiting = [
        task for folder in ("tasks", "handlers") for path in role.glob(f"{folder}/*.yml")
        for task in load(path)
    ]  # fmt: skip
    while waiting:
        task = waiting.pop()
        yield task
        for keyword in TASK_KEYWORDS & task.keys():
            waiting += task[keyword]


def text_of(role: Path, *folders: str) -> str:
    paths = [path for folder in folders for path in sorted((role / folder).glob("*"))]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def test_every_variable_has_a_default_and_a_description(role: Path) -> None:
    assert list(load(role / "defaults/main.yml")) == list(options(role))


def test_every_variable_carries_the_name_of_the_role(role: Path) -> None:
    assert [name for name in options(role) if not name.startswith(f"{role.name}_")] == []


def test_every_option_says_what_it_is(role: Path) -> None:
    for name, option in options(role).items():
        assert option["description"], name
        assert option["type"], name
        assert "default" in option or option.get("required"), name


def test_the_documented_default_is_the_real_one(role: Path) -> None:
    documented = {name: option.get("default") for name, option in options(role).items()}
    for name, default in load(role / "defaults/main.yml").items():
        if "~" in str(default):
            continue  # an input of the collection, or computed: told in words
        assert documented[name] == default


def test_every_variable_is_used_unless_its_choices_are_its_use(
    role: Path, repository: Path
) -> None:
    text = text_of(role, "defaults", "vars", "tasks", "handlers", "templates")
    text += (repository / "playbooks/vars/wiring.yml").read_text(encoding="utf-8")
    for name, option in options(role).items():
        assert "choices" in option or re.search(rf"\b{name}\b(?!:)", text), name


def test_no_default_refers_to_another_role(role: Path, repository: Path) -> None:
    others = [folder.name for folder in (repository / "roles").iterdir() if folder != role]
    text = text_of(role, "defaults", "vars", "tasks", "handlers", "templates")
    assert re.findall(rf"\b_*(?:{'|'.join(others)})_\w+", text) == []


def test_inputs_of_the_collection_enter_by_the_defaults_alone(role: Path) -> None:
    used = re.findall(r"\bmcp_edge_\w+", text_of(role, "defaults"))
    assert set(used) <= set(COLLECTION_INPUTS)
    elsewhere = re.findall(r"{{[^}]*\bmcp_edge_\w+", text_of(role, "vars", "tasks", "templates"))
    assert elsewhere == []


def test_internal_variables_carry_two_underscores_and_the_role(role: Path) -> None:
    names = list(load(role / "vars/main.yml"))
    for task in tasks(role):
        names += [name for name in task.get("vars", {}) if name != "ansible_become"]
        names += [task["register"]] if "register" in task else []
        names += [n for n in task.get("ansible.builtin.set_fact", {}) if n != "cacheable"]
    assert names
    assert [name for name in names if not name.startswith(f"__{role.name}_")] == []


def test_every_internal_variable_is_used(role: Path) -> None:
    text = text_of(role, "vars", "tasks", "handlers", "templates")
    names = set(re.findall(rf"\b__{role.name}_\w+", text))
    assert [name for name in sorted(names) if len(re.findall(rf"\b{name}\b", text)) < 2] == []


def test_every_task_and_handler_has_a_name(role: Path) -> None:
    assert [task for task in tasks(role) if not task.get("name")] == []


def test_every_notified_handler_is_there(role: Path) -> None:
    heard = set()
    for handler in (task for path in role.glob("handlers/*.yml") for task in load(path)):
        listens = handler.get("listen", [])
        heard |= {handler["name"], *([listens] if isinstance(listens, str) else listens)}
    notified = set()
    for task in tasks(role):
        notifies = task.get("notify", [])
        notified |= {notifies} if isinstance(notifies, str) else set(notifies)
    assert notified <= heard


def test_the_readme_tells_what_a_user_decides_by(role: Path) -> None:
    readme = (role / "README.md").read_text(encoding="utf-8")
    titles = re.findall(r"^#+ .*", readme, re.MULTILINE)
    assert titles == [
        f"# {role.name}", "## What it leaves on the host", "## Example", "## Variables"
    ]  # fmt: skip


def test_the_example_of_the_readme_is_a_play_of_the_role(role: Path) -> None:
    readme = (role / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    ((used,),) = [play["roles"] for play in yaml.safe_load(example)]
    assert used["role"] == f"codeintel.mcp_edge.{role.name}"
    assert used["vars"].keys() <= options(role).keys()


def test_the_tables_of_the_readmes_are_current(repository: Path) -> None:
    run = subprocess.run(
        [sys.executable, repository / "tests/role_readmes.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "")
