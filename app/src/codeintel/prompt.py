"""The prompt that teaches an agent to answer from the index with few and small calls."""

from typing import Annotated

from pydantic import Field

GUIDE = """Answer the question about the indexed code with the tools of this server.

1. Where is it? A name you know: symbols, then references for its callers. An idea in words: \
search. Text that must be there: grep.
2. Read little: outline before a long file; read with around= for the one definition behind a \
hit, with start_line and end_line for more. Never read file after file to find something.
3. Narrow early: filters in search (path:src/api lang:python kind:class repo:NAME), globs in \
grep and files. Counts instead of lines mean that the question was too wide.
4. Trust, but say so: status tells commit and age of the index; references says whether it \
answers from scip (resolved) or from text (by name, so check what matters by reading).
5. Cite path:line for every claim. If nothing is found, say what was tried."""


def explore(
    question: Annotated[str, Field(description="What to find out about the code")],
) -> str:
    """Answer a question about the code with few, small calls and exact citations."""
    return f"{GUIDE}\n\nQuestion: {question}"
