// The panel of the interactive map: layer control, score filter, legend, pop-ups.
// A function of the MapLibre map, called when all layers are on it. It talks to the map's layers by their ids and to
// nothing else: no request, no library. Texts come from the features' properties through `textContent`, never as HTML.
(map, spec) => {
  const make = (tag, props, ...children) => {
    const e = Object.assign(document.createElement(tag), props || {});
    e.append(...children);
    return e;
  };
  const panel = make("div", {id: "rts-panel"}, make("h1", {textContent: spec.title}));
  const show = (ids, on) => {
    for (const id of ids) map.setLayoutProperty(id, "visibility", on ? "visible" : "none");
  };
  for (const group of spec.groups) {
    const kind = group.radio ? {type: "radio", name: "base"} : {type: "checkbox"};
    const box = make("input", {...kind, checked: group.visible});
    box.addEventListener("change", () => {
      if (group.radio) spec.groups.filter(g => g.radio).forEach(g => show(g.layers, g === group));
      else show(group.layers, box.checked);
    });
    const row = make("label", {}, box, make("span", {textContent: group.name}));
    if (group.colour) {
      const key = make("span", {className: "key"});
      key.style.borderTopColor = group.colour;
      key.style.borderTopStyle = group.dashed ? "dashed" : "solid";
      row.append(key);
    }
    panel.append(row);
  }
  const count = make("div", {id: "rts-count"});
  const slider = make("input", {type: "range", id: "rts-score", min: spec.least, max: 1, step: 0.01});
  slider.value = spec.least;
  slider.setAttribute("aria-label", "least score shown");
  const filter = () => {
    const least = Number(slider.value);
    for (const id of spec.scored) map.setFilter(id, [">=", ["get", "score"], least]);
    const shown = spec.scores.filter(s => s >= least).length;
    count.textContent = `${shown} of ${spec.scores.length} detections, score ≥ ${least.toFixed(2)}`;
  };
  slider.addEventListener("input", filter);
  const ramp = make("div", {className: "ramp"});
  ramp.style.background = `linear-gradient(to right, ${spec.ramp.join(", ")})`;
  panel.append(make("hr"), count, slider, ramp,
    make("div", {className: "ends"}, make("span", {textContent: `score ${spec.least.toFixed(2)}`}),
         make("span", {textContent: "1.00"})));
  filter();
  map.getContainer().append(panel);

  const popup = make("div", {id: "rts-popup", className: "maplibregl-popup maplibregl-popup-anchor-bottom"});
  const place = () => {
    if (!popup.lngLat) return;
    const p = map.project(popup.lngLat);
    popup.style.transform = `translate(-50%, -100%) translate(${p.x}px, ${p.y}px)`;
  };
  map.on("move", place);
  map.on("mousemove", e => {
    const hit = map.queryRenderedFeatures(e.point, {layers: spec.clickable});
    map.getCanvas().style.cursor = hit.length ? "pointer" : "";
    map.getCanvas().title = hit.map(f => f.properties.title).join(", ");
  });
  map.on("click", e => {
    const seen = new Set(), body = make("div", {className: "maplibregl-popup-content"});
    const hits = spec.clickable.flatMap(id => map.queryRenderedFeatures(e.point, {layers: [id]}));
    for (const f of hits) {
      if (seen.has(f.properties.title)) continue;
      seen.add(f.properties.title);
      body.append(make("b", {textContent: f.properties.title}));
      for (const line of f.properties.text.split("\n")) body.append(make("span", {textContent: line}));
    }
    popup.remove();
    popup.lngLat = e.lngLat;
    if (!seen.size) return;
    popup.replaceChildren(make("div", {className: "maplibregl-popup-tip"}), body);
    map.getContainer().append(popup);
    place();
  });
  window.rtsMap = map;
}
