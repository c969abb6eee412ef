"""Run the package from a copy of this folder: ``python FOLDER --config FILE MODULE:OBJECT``."""

from hypercorn_edge.cli import main

raise SystemExit(main())
