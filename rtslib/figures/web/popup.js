// The pop-up: all that is known of a slump. It opens to where there is room, and closes by its button, by Esc, by a
// click beside slumps, and when its slump is hidden.
rts.popup = app => {
  const {map, spec, items} = app, {make} = rts, SIDE = 96, REACH = 1000;
  const images = spec.pictures.map(p => Object.assign(new Image(), {src: p.url}));
  let popup = null;

  const close = () => {
    const open = popup;
    popup = null;  // first, so that its end does not count as closed by hand
    open?.remove();
  };
  // The room around a point, px: the pop-up goes where it can be highest.
  const room = at => {
    const {clientWidth: w, clientHeight: h} = map.getContainer(), p = map.project(at), wide = 316;
    if (innerWidth < 700) return ["bottom", h];  // a sheet at the foot of the screen (page.css)
    const panel = app.panel.open ? app.panel.getBoundingClientRect().width : 0;
    const side = p.x < w / 2 ? "-left" : "-right", beside = 2 * Math.min(p.y, h - p.y) - 16;
    const ways = [[`top${side}`, h - p.y - 24], [`bottom${side}`, p.y - 24]];
    if (w - p.x > wide + 20) ways.push(["left", beside]);
    if (p.x - panel > wide + 20) ways.push(["right", beside]);
    return ways.reduce((a, b) => b[1] > a[1] ? b : a);
  };
  const open = (at, title, ...content) => {
    close();
    const [anchor, height] = room(at);
    const head = make("h2", {textContent: title});
    const body = make("div", {id: "rts-popup", style: {maxHeight: `${Math.max(height, 160)}px`}}, head, ...content);
    popup = new maplibregl.Popup({anchor, closeOnClick: false, maxWidth: "316px", offset: 6, focusAfterOpen: false});
    popup.setLngLat(at).setDOMContent(body).addTo(map);
    popup.on("close", () => { if (popup) { popup = null; app.choose(null); } });
  };

  // A cut of each picture around the slump, with its outline.
  const mercator = c => { const m = maplibregl.MercatorCoordinate.fromLngLat(c); return [m.x, m.y]; };
  const thumbnail = (item, k, colour) => {
    const p = spec.pictures[k], canvas = make("canvas", {width: 2 * SIDE, height: 2 * SIDE});
    const [x0, y0] = mercator(p.coordinates[0]), [x1, y1] = mercator(p.coordinates[2]);
    const [w, n, e, s] = [...mercator([item.box[0], item.box[3]]), ...mercator([item.box[2], item.box[1]])];
    const side = Math.max(1.8 * Math.max(e - w, s - n), 24 * (x1 - x0) / p.width);
    const left = (w + e - side) / 2, top = (n + s - side) / 2, scale = 2 * SIDE / side;
    images[k].decode().then(() => {
      const g = canvas.getContext("2d"), px = p.width / (x1 - x0), py = images[k].naturalHeight / (y1 - y0);
      g.imageSmoothingEnabled = false;
      g.drawImage(images[k], (left - x0) * px, (top - y0) * py, side * px, side * py, 0, 0, 2 * SIDE, 2 * SIDE);
      const path = new Path2D();
      for (const ring of item.rings) {
        ring.forEach((c, i) => {
          const [x, y] = mercator(c);
          path[i ? "lineTo" : "moveTo"]((x - left) * scale, (y - top) * scale);
        });
        path.closePath();
      }
      for (const [style, width] of [["rgba(0,0,0,.6)", 6], [colour, 3]]) {
        Object.assign(g, {strokeStyle: style, lineWidth: width, lineJoin: "round"});
        g.stroke(path);
      }
      canvas.dataset.drawn = "yes";
    }).catch(() => canvas.replaceWith("no picture"));
    return make("figure", {}, canvas, make("figcaption", {textContent: p.name}));
  };
  const thumbnails = (item, colour) => make("div", {className: "thumbs"},
    ...spec.pictures.map((_, k) => thumbnail(item, k, colour)));

  const facts = rows => make("dl", {}, ...rows.filter(r => r[1] !== null && r[1] !== "").flatMap(([name, value]) =>
    [make("dt", {textContent: name}), make("dd", {}, value)]));
  const neighbours = item => {
    const near = items.filter(o => o !== item && Math.abs(o.point[1] - item.point[1]) < REACH / 1e5)
      .map(o => [rts.metres(item.point, o.point), o]).filter(([d]) => d < REACH).sort((a, b) => a[0] - b[0]).slice(0, 5);
    const list = make("span", {});
    near.forEach(([d, o], k) => {
      const link = make("button", {className: "link", textContent: o.id, title: `${d.toFixed(0)} m from here`});
      link.addEventListener("click", () => app.choose(o.n, {fly: true}));
      list.append(k ? ", " : "", link, ` (${d.toFixed(0)} m)`);
    });
    return near.length ? list : "none within 1 km";
  };
  const describe = item => facts([
    ["score", item.score.toFixed(2)], ["area", rts.area(item.area)],
    ["perimeter", `${Math.round(item.perimeter).toLocaleString("en")} m`],
    ["verdict", item.verdict && `${item.verdict}${item.match ? `, ${item.match}` : ""}`],
    ["valid pixels", item.valid.map(([m, share]) => `${m} ${Math.round(share * 100)} %`).join(", ")],
    ["modalities", item.modalities], ["windows", item.windows],
    ["note", [item.edge && "cut by the edge of the scene", item.nodata && "meets pixels without data"]
      .filter(Boolean).join("; ")],
    ["place", rts.place(item.point[1], item.point[0])], ["neighbours", neighbours(item)],
  ]);

  app.on("chosen", n => {
    if (n === null) return close();
    const item = items[n];
    open(app.at || item.point, `Detection ${item.id}`, app.decide?.(item), thumbnails(item, spec.ramp.at(-1)),
      describe(item));
  });
  app.on("known", k => {
    if (k === null) return app.chosen === null && close();
    const p = app.known[k];
    app.choose(null);
    open(app.at || p.point, `Known slump ${p.id}`, thumbnails(p, spec.truth_colour), facts([
      ["area", rts.area(p.area)], ["verdict", `${p.verdict}${p.match ? `, ${p.match}` : ""}`],
      ["place", rts.place(p.point[1], p.point[0])]]));
  });

  const under = point => {
    const at = layer => map.getLayoutProperty(layer, "visibility") === "none" ? []
      : map.queryRenderedFeatures(point, {layers: [layer]});
    return [at("detections-fill")[0], at("truth-fill")[0]].map(f => f?.properties.n ?? null);
  };
  map.on("mousemove", e => {
    const [n, k] = under(e.point), names = [];
    if (n !== null) names.push(`Detection ${items[n].id}`);
    if (k !== null) names.push(`Known slump ${app.known[k].id}`);
    map.getCanvas().style.cursor = names.length ? "pointer" : "";
    map.getCanvas().title = names.join(", ");
  });
  map.on("click", e => {
    const [n, k] = under(e.point);
    if (n === null && k !== null) app.at = e.lngLat, app.emit("known", k);
    else { close(); app.choose(n, {at: e.lngLat}); }
    app.at = null;
  });
  addEventListener("keydown", e => { if (e.key === "Escape") { close(); app.choose(null); } });
};
