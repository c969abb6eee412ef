# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stop a role before its first change when a variable is unknown, missing or malformed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.variables import (
    COLLECTION_INPUTS,
    COMMON_SHAPES,
    malformed,
    unknown,
)


class ActionModule(ActionBase):
    """Compare the variables in force with the role's argument_specs; touch no host."""

    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return a failed result that lists every complaint, or an unchanged one."""
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        role = Path(task_vars["role_path"])
        specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
        spec = specs["argument_specs"]["main"]["options"]

        complaints = unknown(task_vars, spec, f"{role.name}_")
        complaints += unknown(task_vars, COLLECTION_INPUTS, "mcp_edge_")
        given: dict[str, Any] = {}
        for name in spec.keys() & task_vars.keys():
            try:
                given[name] = self._templar.template(task_vars[name])
            except AnsibleError as error:
                complaints.append(f"{name} cannot be evaluated: {error}")
        shapes = {f"{role.name}_{name}": shape for name, shape in COMMON_SHAPES.items()}
        complaints += malformed(spec, given, shapes | self._task.args.get("shapes", {}))

        result["changed"] = False
        if complaints:
            result["failed"] = True
            result["msg"] = "\n".join([f"Nothing was changed. Role {role.name}:", *complaints])
        return result
