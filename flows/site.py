"""Changes to Markdown pages while mkdocs makes the site of them: a hook that `mkdocs.yml` names."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK_OUT = re.compile(r"\]\(\.\./([^()\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The README is the first page; its links begin at the repository's root."""
    text = (Path(config.docs_dir).parent / "README.md").read_text("utf-8")
    files.append(File.generated(config, "index.md", content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a file outside the pages goes to the repository."""
    return _LINK_OUT.sub(rf"]({config.repo_url}/blob/main/\1)", markdown)
