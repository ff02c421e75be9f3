"""The panel of the interactive map, `panel.js` and `panel.css`, which runs in the browser; and `webgl.js`, which says
why the map stays empty where the browser has no WebGL."""

from pathlib import Path

#: Layer ids shared by `rtslib.figures.web.page` and the script.
FILL, LINE, TRUTH_FILL, TRUTH_LINE = "detections-fill", "detections-line", "truth-fill", "truth-line"

STYLE, SCRIPT, CHECK = (Path(__file__).with_name(n).read_text("utf-8") for n in ("panel.css", "panel.js", "webgl.js"))
