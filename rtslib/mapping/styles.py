"""Styles: the colours of a map's polygons, and the same inside its GeoPackage, where QGIS finds them.

QGIS draws a layer as the table `layer_styles` of its GeoPackage says, where a row is marked as the default. It holds
QML, QGIS's own form, and SLD (OGC 05-078r4), that of other programs. Polygons are coloured by score, in classes of
equal width along the ramp that the map page has, from the least score to the best.

Source: OGC GeoPackage 1.3 for tables; GDAL's GeoPackage driver for the columns of `layer_styles`.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

#: Colours of the score ramp, low to high.
SCORE_RAMP = ("#ffe08a", "#ff9f1c", "#ff2e63")
#: Classes that a graduated style has.
CLASSES = 6
_TABLE = """CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT,
styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
update_time DATETIME DEFAULT CURRENT_TIMESTAMP)"""


def add_style(path: str | Path, layer: str, scores: np.ndarray) -> None:
    """Put a style by score into a GeoPackage, as the default of a layer.

    Args:
        path: of a GeoPackage without styles.
        layer: polygons with a column `score`.
        scores: float (n,), 0-1, of the layer.

    Raises:
        sqlite3.Error: `path` is no GeoPackage, or cannot be written.
    """
    classes = score_classes(scores)
    with closing(sqlite3.connect(path)) as file, file:
        (column,) = file.execute(
            "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
        ).fetchone()
        file.execute(_TABLE)
        row = ("", "", layer, column, "score", _qml(classes), _sld(layer, classes), True, "slumps by score", "")
        file.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row,
        )  # fmt: skip
        file.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('layer_styles', 'attributes', "
            "'layer_styles')"
        )


def score_classes(scores: np.ndarray) -> list[tuple[float, float, str]]:
    """Return the classes of a style as (from, to, colour), from the least score to the best; one where all are equal.

    The colour, `#rrggbb`, is that of the ramp in the middle of the class; the first has that of its lower, the last
    that of its upper end.
    """
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    n = CLASSES if high - low > 1e-6 else 1
    ends, along = np.linspace(low, high, n + 1), np.linspace(0, 1, n) if n > 1 else [1.0]
    return [(float(a), float(b), _colour(t)) for a, b, t in zip(ends[:-1], ends[1:], along)]


def _colour(t: float) -> str:
    """Return the ramp's colour at 0-1."""
    stops = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in SCORE_RAMP])
    mixed = [np.interp(t, np.linspace(0, 1, len(stops)), channel) for channel in stops.T]
    return "#" + "".join(f"{round(v):02x}" for v in mixed)


def _qml(classes: list[tuple[float, float, str]]) -> str:
    """Return a graduated style as QGIS 3 writes it."""
    ranges, symbols = [], []
    for k, (low, high, colour) in enumerate(classes):
        ranges.append(f'<range lower="{low:.15g}" upper="{high:.15g}" symbol="{k}" label="{low:.2f} - {high:.2f}" '
                      'render="true"/>')  # fmt: skip
        rgb = ",".join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
        options = {"color": f"{rgb},38", "style": "solid", "outline_color": f"{rgb},255", "outline_style": "solid",
                   "outline_width": "0.6", "outline_width_unit": "MM", "joinstyle": "round"}  # fmt: skip
        inside = "".join(f'<Option name="{name}" type="QString" value="{v}"/>' for name, v in options.items())
        symbols.append(
            f'<symbol name="{k}" type="fill" alpha="1" clip_to_extent="1" force_rhr="0"><layer class="SimpleFill" '
            f'enabled="1" locked="0" pass="0"><Option type="Map">{inside}</Option></layer></symbol>'
        )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.22" styleCategories="Symbology"><renderer-v2 type="graduatedSymbol" attr="score" '
        'graduatedMethod="GraduatedColor" symbollevels="0" forceraster="0" enableorderby="0">'
        f"<ranges>{''.join(ranges)}</ranges><symbols>{''.join(symbols)}</symbols></renderer-v2></qgis>"
    )


def _sld(layer: str, classes: list[tuple[float, float, str]]) -> str:
    """Return the same as a Styled Layer Descriptor."""
    rules = []
    for k, (low, high, colour) in enumerate(classes):
        last = "LessThanOrEqualTo" if k == len(classes) - 1 else "LessThan"
        bounds = "".join(
            f"<ogc:PropertyIs{op}><ogc:PropertyName>score</ogc:PropertyName><ogc:Literal>{v:.15g}</ogc:Literal>"
            f"</ogc:PropertyIs{op}>"
            for op, v in (("GreaterThanOrEqualTo", low), (last, high))
        )
        rules.append(
            f"<se:Rule><se:Name>{low:.2f} - {high:.2f}</se:Name><ogc:Filter><ogc:And>{bounds}</ogc:And></ogc:Filter>"
            f'<se:PolygonSymbolizer><se:Fill><se:SvgParameter name="fill">{colour}</se:SvgParameter>'
            '<se:SvgParameter name="fill-opacity">0.15</se:SvgParameter></se:Fill><se:Stroke>'
            f'<se:SvgParameter name="stroke">{colour}</se:SvgParameter>'
            '<se:SvgParameter name="stroke-width">2</se:SvgParameter></se:Stroke></se:PolygonSymbolizer></se:Rule>'
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<StyledLayerDescriptor xmlns="http://www.opengis.net/sld" '
        'xmlns:ogc="http://www.opengis.net/ogc" xmlns:se="http://www.opengis.net/se" version="1.1.0"><NamedLayer>'
        f"<se:Name>{layer}</se:Name><UserStyle><se:Name>score</se:Name><se:FeatureTypeStyle>{''.join(rules)}"
        "</se:FeatureTypeStyle></UserStyle></NamedLayer></StyledLayerDescriptor>"
    )
