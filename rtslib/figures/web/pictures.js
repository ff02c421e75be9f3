// Pictures of the scene: one is shown; a second lies over it, right of a line that can be drawn (swipe).
rts.pictures = app => {
  const {map, spec} = app, {make} = rts, layer = k => `picture-${k}`;
  const chosen = {under: 0, over: -1, opacity: 1, at: 0.5};
  // WebGL's scissor cuts what is drawn between these two layers at the line, whatever way the map is turned.
  const cutter = (id, cut) => ({id, type: "custom", renderingMode: "2d", render: gl => {
    const x = Math.round(chosen.at * gl.drawingBufferWidth);
    if (!cut || chosen.over < 0) return gl.disable(gl.SCISSOR_TEST);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(x, 0, gl.drawingBufferWidth - x, gl.drawingBufferHeight);
  }});
  spec.pictures.forEach((p, k) => {
    map.addSource(layer(k), {type: "image", url: p.url, coordinates: p.coordinates});
    map.addLayer({id: layer(k), type: "raster", source: layer(k), paint: {"raster-fade-duration": 0},
                  layout: {visibility: k ? "none" : "visible"}});
  });
  map.addLayer(cutter("swipe-from", true));
  map.addLayer(cutter("swipe-to", false));

  const line = make("div", {id: "rts-swipe", hidden: true, tabIndex: 0, title: "drag to compare"});
  line.setAttribute("role", "slider");
  line.setAttribute("aria-label", "where the second picture begins");
  const place = at => {
    chosen.at = Math.min(Math.max(at, 0), 1);
    line.style.left = `${chosen.at * 100}%`;
    line.setAttribute("aria-valuenow", Math.round(chosen.at * 100));
    map.triggerRepaint();
  };
  line.addEventListener("pointerdown", e => { line.setPointerCapture(e.pointerId); e.preventDefault(); });
  line.addEventListener("pointermove", e => {
    const box = map.getContainer().getBoundingClientRect();
    if (line.hasPointerCapture(e.pointerId)) place((e.clientX - box.left) / box.width);
  });
  line.addEventListener("keydown", e => {
    const step = {ArrowLeft: -0.02, ArrowRight: 0.02}[e.key];
    if (step) { place(chosen.at + step); e.preventDefault(); }
  });
  map.getContainer().append(line);

  const legends = make("div", {className: "legends"});
  const draw = () => {
    const {under, over} = chosen, shown = over < 0 ? [under] : [under, over];
    spec.pictures.forEach((_, k) => {
      map.setLayoutProperty(layer(k), "visibility", shown.includes(k) ? "visible" : "none");
      map.setPaintProperty(layer(k), "raster-opacity", k === shown.at(-1) ? chosen.opacity : 1);
      map.moveLayer(layer(k), k === over ? "swipe-to" : "swipe-from");
    });
    line.hidden = over < 0;
    place(chosen.at);
    legends.replaceChildren(...shown.filter(k => spec.pictures[k].ramp).map(k => {
      const p = spec.pictures[k];
      return make("div", {}, p.name, rts.ramp(p.ramp, p.low, p.high));
    }));
  };
  const names = spec.pictures.map((p, k) => [k, p.name]);
  const under = rts.select(names, 0), over = rts.select([[-1, "nothing"], ...names], -1);
  const opacity = make("input", {type: "range", min: 0, max: 1, step: 0.05, value: 1});
  under.id = "rts-picture";
  over.id = "rts-compare";
  opacity.id = "rts-opacity";
  const change = () => {
    Object.assign(chosen, {under: +under.value, over: over.value === under.value ? -1 : +over.value});
    over.value = chosen.over;
    chosen.opacity = +opacity.value;
    draw();
  };
  for (const e of [under, over, opacity]) e.addEventListener("input", change);
  app.panel.append(make("section", {}, rts.field("Picture", under), rts.field("Swipe with", over),
    rts.field("Opacity", opacity), legends));
  draw();
};
