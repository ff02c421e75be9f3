// The map page: reads what Python wrote into it, and puts its parts together around `app`, which they share.
rts.main = () => {
  const {make} = rts, canvas = document.createElement("canvas");
  if (!canvas.getContext("webgl2") && !canvas.getContext("webgl")) {
    document.body.textContent = "This map needs WebGL, which this browser has switched off.";
    return;
  }
  const spec = JSON.parse(document.getElementById("rts-data").textContent);
  const narrow = innerWidth < 700;
  const panel = make("details", {id: "rts-panel", open: !narrow}, make("summary", {}, make("h1", {textContent: spec.title})),
    make("div", {className: "about"}, ...spec.about.map(line => make("p", {textContent: line}))));
  const fold = make("button", {className: "fold", textContent: "Table and review"}), side = make("aside", {id: "rts-side"}, fold);
  fold.addEventListener("click", () => fold.setAttribute("aria-expanded", !side.classList.toggle("folded")));
  if (innerWidth < 1000) fold.click();
  const container = make("div", {id: "rts-map"});
  document.body.append(container, side);
  const map = new maplibregl.Map({
    container, bounds: spec.bounds, fitBoundsOptions: {padding: {left: narrow ? 20 : 290, top: 20, right: 50, bottom: 30}},
    attributionControl: false, dragRotate: true, maxZoom: 20,
    style: {version: 8, sources: {}, layers: [
      {id: "ground", type: "background", paint: {"background-color": "#dfe5e8"}}]},
  });
  container.append(panel);

  // What a feature is to the other parts: its properties, rings [[lon, lat]] and box [west, south, east, north].
  const item = f => {
    const parts = f.geometry.type === "Polygon" ? [f.geometry.coordinates] : f.geometry.coordinates;
    const rings = parts.flat(), box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const ring of rings) for (const [x, y] of ring) {
      if (x < box[0]) box[0] = x;
      if (y < box[1]) box[1] = y;
      if (x > box[2]) box[2] = x;
      if (y > box[3]) box[3] = y;
    }
    return {...f.properties, rings, box};
  };
  const items = spec.detections.features.map(item), known = (spec.truth?.features || []).map(item);
  const app = {map, spec, panel, side, items, known, shown: items, chosen: null, at: null, start: [], ...rts.bus()};
  const views = [];
  app.back = () => {
    const view = views.pop();
    if (view) map.easeTo(view);
  };
  app.choose = (n, {fly = false, at = null} = {}) => {
    if (n === app.chosen && n === null) return;
    app.chosen = n;
    if (n === null) return app.emit("chosen", null);
    const show = () => {
      app.at = at || (fly && !narrow ? [items[n].box[2], (items[n].box[1] + items[n].box[3]) / 2] : null);
      if (app.chosen === n) app.emit("chosen", n);
      app.at = null;
    };
    if (!fly) return show();
    views.push({center: map.getCenter(), zoom: map.getZoom(), bearing: map.getBearing()});
    const {box} = items[n], {clientWidth: w, clientHeight: h} = container;
    const left = panel.open && !narrow ? panel.offsetWidth : 0, right = w > left + 500 ? 340 : 0;
    map.once("moveend", show);  // the pop-up looks for room where the slump lies then
    const beside = (w - left - right) / 4;  // a slump is judged by what lies around it
    map.fitBounds([[box[0], box[1]], [box[2], box[3]]], {linear: true, duration: 350, maxZoom: 16,
      padding: {top: h / (narrow ? 6 : 3), bottom: h / (narrow ? 2 : 3), left: left + beside, right: right + beside}});
  };
  map.on("load", () => {
    for (const part of [rts.pictures, rts.slumps, rts.popup, rts.review, rts.table, rts.furniture]) part(app);
    app.start.forEach(f => f());
    window.rtsMap = map;
  });
  window.rtsApp = app;
};
rts.main();
