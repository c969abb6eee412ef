# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pack a source tree of the controller and tell what it contains by a digest."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.tree import pack


class ActionModule(ActionBase):
    """Run on the controller only; the archive is removed with Ansible's temporary folder."""

    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the archive's path and the SHA-256 of its bytes; a file is taken as it is."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        path = Path(self._task.args["path"])
        if path.is_dir():
            source, path = path, Path(self._archive())
            with path.open("wb") as archive:
                pack(source, archive)
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return result | {"changed": False, "path": str(path), "sha256": digest}

    def _archive(self) -> str:
        with tempfile.NamedTemporaryFile(
            dir=constants.DEFAULT_LOCAL_TMP, suffix=".tar", delete=False
        ) as archive:
            return archive.name
