"""Hook of the documentation's build: the tutorial as a notebook, to be downloaded."""

import json
import re

from mkdocs.structure import files as files_lib

_NAME = "tutorial.ipynb"


def notebook(markdown: str) -> str:
    """Returns a page as a notebook: its Python blocks are cells, the rest is text."""
    cells = []
    for index, text in enumerate(
        re.split(r"```python\n(.*?)```\n?", markdown, flags=re.S)
    ):
        cell = {"cell_type": "markdown", "metadata": {}, "source": text.strip()}
        if index % 2:
            cell.update(cell_type="code", execution_count=None, outputs=[])
        cells += [cell] if cell["source"] else []
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(content, indent=1)


def on_files(files, config):
    """Adds the notebook to the site."""
    page = files.get_file_from_path("tutorial.md")
    text = notebook(page.content_string)
    files.append(files_lib.File.generated(config, _NAME, content=text))
    return files


def on_page_markdown(markdown, page, **_):
    """Links to it at the end of the tutorial."""
    is_tutorial = page.file.src_uri == "tutorial.md"
    return markdown + f"\n[The same as a notebook]({_NAME})\n" * is_tutorial
