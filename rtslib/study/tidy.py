"""Executed notebooks and logs that can be shared: without paths of the machine, and without dead widgets.

A widget (a progress bar, say) shows nothing once its kernel has gone and its state is not kept.
"""

import re
import sys
import tempfile
from pathlib import Path

from rtslib.files import ROOT

#: Output type of live widgets.
WIDGET = "application/vnd.jupyter.widget-view+json"


def tidy(text: str) -> str:
    """Return `text` with paths of this machine made relative or neutral, so that copies can be shared."""
    text = text.replace(f"{ROOT}/", "").replace(str(ROOT), ".")
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/ipykernel_\d+/\d+\.py", "<cell>", text)
    for place, name in ((sys.prefix, "<venv>"), (sys.base_prefix, "<python>"), (str(Path.home()), "~")):
        if len(place) > 4:  # "/usr" and shorter name no one
            text = text.replace(place, name)
    return text


def tidy_copy(path: Path, source: str, target: str) -> None:
    """Clean an executed notebook in place: no path of this machine, no live widgets (progress bars).

    Args:
        path: the copy, perhaps under a temporary name.
        source, target: what to note as the names of notebook and copy.
    """
    import nbformat

    copy = nbformat.read(path, as_version=4)
    for cell in copy.cells:
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
    copy.metadata.papermill.update(input_path=source, output_path=target)
    path.write_text(tidy(nbformat.writes(copy)) + "\n", encoding="utf-8")
