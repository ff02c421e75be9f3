"""A STAC API on the loopback, with items of constant rasters, for tests of fetching."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pystac
import rasterio
import shapely
from affine import Affine
from rasterio.transform import array_bounds
from rasterio.warp import transform_geom

UTM = "EPSG:32608"
#: 64 x 64 px of 10 m, near the Mackenzie delta.
AT, SIDE = Affine(10, 0, 500_000, 0, -10, 7_700_000), 64
S2 = "sentinel-2-l2a"
CONFORMS = ["core", "collections", "item-search", "ogcapi-features"]


class Api:
    """What the server serves, and what it was asked.

    Attributes:
        folder: of the rasters.
        items: all of them, in the order of their making.
        page: items a page.
        faults: path -> number of times that it still answers 503.
        asked: paths in the order of requests, without their queries.
        token: what has to follow "?" in requests for rasters; "" lets all in.
    """

    def __init__(self, folder, url=""):
        self.folder, self.url, self.items, self.page, self.token = folder, url, [], 100, ""
        self.collections = {S2, "cop-dem-glo-30"}
        self.faults, self.asked = {}, []

    def add(self, name, day="2023-07-10", red=1500, scl=4, cloud=5.0, baseline="05.09", crs=UTM, at=AT, size=SIDE,
            collection=S2, hour="20:00:00", raster=None, **properties):  # fmt: skip
        """Add a Sentinel-2 item of constant reflectance: green 100 more than red, blue 200, nir 300."""
        values = {"red": red, "green": red + 100, "blue": red + 200, "nir": red + 300}
        values = {b: np.where(np.asarray(red) > 0, v, 0) for b, v in values.items()} | {"scl": scl}
        properties = {"eo:cloud_cover": cloud, "s2:processing_baseline": baseline, **properties}
        return self._item(name, f"{day}T{hour}Z", values, crs, at, size, collection, properties, raster)

    def dem(self, name, metres, crs=UTM, at=AT, size=SIDE, collection="cop-dem-glo-30", band="data"):
        return self._item(name, "2021-04-22T00:00:00Z", {band: metres}, crs, at, size, collection, {}, None)

    def _item(self, name, when, values, crs, at, size, collection, properties, raster):
        (self.folder / name).mkdir()
        box = shapely.geometry.mapping(shapely.box(*array_bounds(size, size, at)))
        shape = transform_geom(crs, "EPSG:4326", box, antimeridian_cutting=True)
        if collection not in ("cop-dem-glo-30",):  # whose items have no projection in some catalogs
            properties |= {"proj:epsg": int(crs[5:]), "proj:shape": [size, size], "proj:transform": list(at)[:6]}
        item = pystac.Item(name, shape, shapely.geometry.shape(shape).bounds, pystac.utils.str_to_datetime(when),
                           properties, collection=collection)  # fmt: skip
        item.stac_extensions.append("https://stac-extensions.github.io/projection/v1.1.0/schema.json")
        for band, value in values.items():
            dtype = "uint8" if band == "scl" else "float32" if len(values) == 1 else "uint16"
            nodata = -9999 if dtype == "float32" else 0
            with rasterio.open(
                self.folder / name / f"{band}.tif", "w", driver="GTiff", count=1, dtype=dtype, crs=crs, transform=at,
                height=size, width=size, nodata=nodata, tiled=True, blockxsize=64, blockysize=64,
            ) as file:  # fmt: skip
                file.write(np.broadcast_to(value, (size, size)).astype(dtype), 1)
            extra = {} if raster is None or band == "scl" else {"raster:bands": [raster]}
            asset = pystac.Asset(f"{self.url}/{name}/{band}.tif", media_type=pystac.MediaType.COG, roles=["data"],
                                 extra_fields=extra)  # fmt: skip
            item.add_asset(band, asset)
        self.items.append(item.to_dict(transform_hrefs=False))
        return self.items[-1]

    def search(self, body):
        """Answer a search, a page at a time."""
        area, start = shapely.geometry.shape(body["intersects"]), int(body.get("token", 0))
        first, _, last = body.get("datetime", "0/9").partition("/")
        found = [
            i for i in self.items
            if i["collection"] in body["collections"] and first <= i["properties"]["datetime"] <= last
            and shapely.geometry.shape(i["geometry"]).intersects(area)
        ]  # fmt: skip
        page, end = found[start : start + self.page], start + self.page
        link = {"rel": "next", "method": "POST", "href": f"{self.url}/search", "body": {**body, "token": str(end)}}
        return {"type": "FeatureCollection", "features": page, "links": [link] if end < len(found) else []}

    def root(self):
        links = [{"rel": "self", "href": self.url}, {"rel": "data", "href": f"{self.url}/collections"},
                 {"rel": "search", "href": f"{self.url}/search", "method": "POST",
                  "type": "application/geo+json"}]  # fmt: skip
        return {"type": "Catalog", "id": "test", "description": "", "stac_version": "1.0.0", "links": links,
                "conformsTo": [f"https://api.stacspec.org/v1.0.0/{c}" for c in CONFORMS]}  # fmt: skip

    def listed(self):
        extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
        return {"links": [], "collections": [
            {"type": "Collection", "id": c, "description": "", "stac_version": "1.0.0", "license": "other",
             "extent": extent, "links": []} for c in sorted(self.collections)
        ]}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        api, path, query = self.server.api, *self.path.partition("?")[::2]
        if self._faulty(path):
            return
        if path in ("", "/", "/collections"):
            self._send(api.listed() if path == "/collections" else api.root())
        elif path.startswith("/token/"):
            self._send({"token": api.token, "msft:expiry": "2099-01-01T00:00:00Z"})
        elif (file := api.folder / path.strip("/")).is_file() and query == api.token:
            self._raster(file.read_bytes())
        else:
            self._answer(404, b"")

    do_HEAD = do_GET

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._faulty(self.path):
            self._send(self.server.api.search(body))

    def _faulty(self, path):
        api = self.server.api
        api.asked.append(path)
        left = api.faults.get(path, 0)
        if left:
            api.faults[path] = left - 1
            self._answer(503, b"busy")
        return left

    def _raster(self, data):
        wanted = self.headers.get("Range", "")
        if not wanted:
            return self._answer(200, data)
        first, last = wanted.removeprefix("bytes=").split("-")
        part = data[int(first) : int(last) + 1]
        ends = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        return self._answer(206 if part else 416, part, {"Content-Range": ends})

    def _send(self, value):
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/geo+json"})

    def _answer(self, code, data, headers=None):
        self.send_response(code)
        for key, value in {"Content-Length": len(data), "Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        pass


#: Ports that served in this process.
_SERVED: set[int] = set()


@contextmanager
def serving(folder):
    """Serve an empty `Api` from a free port of the loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    while server.server_port in _SERVED:  # GDAL remembers what it read there, for another test
        other = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.server_close()
        server = other
    _SERVED.add(server.server_port)
    server.api = Api(folder, f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
