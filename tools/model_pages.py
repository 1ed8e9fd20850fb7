"""Hook of MkDocs: the models' cards (models/*/README.md) become pages, without a copy of them in docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BETWEEN_CARDS = re.compile(r"\]\(\.\./([\w-]+)/README\.md")


def on_files(files: Any, config: Any) -> Any:
    """Add a page ``models/NAME.md`` for every card; links between cards become links between pages."""
    from mkdocs.structure.files import File

    for card in sorted(ROOT.glob("models/*/README.md")):
        text = BETWEEN_CARDS.sub(r"](\1.md", card.read_text(encoding="utf-8"))
        files.append(File.generated(config, f"models/{card.parent.name}.md", content=text))
    return files
