// Detections, known slumps and the area of interest: layers, colours, legend, and which detections are shown.
rts.slumps = app => {
  const {map, spec, items} = app, {make} = rts, known = spec.truth !== null;
  const {ramp, verdicts, least, best, truth_colour: blue} = spec;
  const by = {
    score: ["interpolate", ["linear"], ["get", "score"],
            ...ramp.flatMap((c, k) => [least + (best - least) * k / (ramp.length - 1), c])],
    verdict: ["match", ["get", "verdict"], "hit", verdicts.hit, verdicts["false alarm"]],
  };
  const line = (id, source, colour, width, extra) => map.addLayer({id, type: "line", source,
    layout: {"line-join": "round"}, paint: {"line-color": colour, "line-width": width, ...extra}});
  map.addSource("area", {type: "geojson", data: spec.area || {type: "FeatureCollection", features: []}});
  line("area-halo", "area", "#000", 3.5, {"line-opacity": 0.5});
  line("area-line", "area", "#fff", 1.5);
  map.addSource("truth", {type: "geojson", data: spec.truth || {type: "FeatureCollection", features: []}});
  map.addLayer({id: "truth-fill", type: "fill", source: "truth", paint: {"fill-opacity": 0}});
  map.addSource("detections", {type: "geojson", data: spec.detections, tolerance: 0.2});
  const faint = ["case", ["==", ["feature-state", "accepted"], false], 0.35, 1];
  map.addLayer({id: "detections-fill", type: "fill", source: "detections", paint: {
    "fill-opacity": ["case", ["==", ["feature-state", "accepted"], true], 0.45,
                     ["==", ["feature-state", "accepted"], false], 0, 0.15]}});
  line("chosen-line", "detections", "#fff", 8);
  line("detections-halo", "detections", "#000", 4.2, {"line-opacity": 0.45});
  line("detections-line", "detections", "#fff", 2.2, {"line-opacity": faint});
  line("false-line", "detections", verdicts["false alarm"], 2.2, {"line-opacity": faint, "line-dasharray": [2.4, 1.6]});
  line("truth-line", "truth", blue, 1.5, {"line-dasharray": [3, 2]});
  line("missed-halo", "truth", "#000", 4.2, {"line-opacity": 0.45});
  line("missed-line", "truth", verdicts.missed, 2.4, {"line-dasharray": [0.6, 1.2]});

  const score = make("input", {type: "range", id: "rts-score", min: least, max: best, step: 0.01, value: least});
  const size = make("input", {type: "range", id: "rts-size", min: 0, max: 100, value: 0});
  const kinds = make("span", {});  // verdicts that are shown
  const open = make("input", {type: "checkbox", id: "rts-open"});
  const count = make("div", {id: "rts-count"}), sizeText = make("output", {}), scoreText = make("output", {});
  const areas = items.map(i => i.area).sort((a, b) => a - b);
  const smallest = () => +size.value ? areas[Math.floor(size.value / 100 * (areas.length - 1))] : 0;
  const boxes = {};
  for (const kind of known ? ["hit", "false alarm"] : []) {
    boxes[kind] = make("input", {type: "checkbox", checked: true});
    kinds.append(rts.field(`${kind}s`, boxes[kind]));
  }
  const filter = () => {
    const low = +score.value, m2 = smallest();
    const hidden = Object.keys(boxes).filter(k => !boxes[k].checked);
    const decided = open.checked ? items.filter(i => app.isDecided(i)).map(i => i.n) : [];
    const gone = new Set(decided);
    app.shown = items.filter(i => i.score >= low && i.area >= m2 && !hidden.includes(i.verdict) && !gone.has(i.n));
    const rule = ["all", [">=", ["get", "score"], low], [">=", ["get", "area"], m2],
                  ["!", ["in", ["get", "verdict"], ["literal", hidden]]],
                  ["!", ["in", ["get", "n"], ["literal", decided]]]];
    const only = kind => colour.value === "verdict" ? ["==", ["get", "verdict"], kind] : kind === "hit";
    for (const id of ["detections-fill", "detections-halo"]) map.setFilter(id, rule);
    map.setFilter("detections-line", [...rule, only("hit")]);
    map.setFilter("false-line", [...rule, only("false alarm")]);
    scoreText.textContent = `≥ ${low.toFixed(2)}`;
    sizeText.textContent = `≥ ${rts.area(m2)}`;
    count.textContent = `${app.shown.length} of ${items.length} detections shown`;
    if (app.chosen !== null && !app.shown.includes(items[app.chosen])) app.choose(null);
    app.emit("shown");
  };
  for (const e of [score, size, open, ...Object.values(boxes)]) e.addEventListener("input", filter);
  app.on("decided", () => open.checked && filter());

  const colour = rts.select([["score", "score"], ...(known ? [["verdict", "verdict"]] : [])], "score");
  colour.id = "rts-colour";
  const legend = make("div", {className: "legends"});
  const switches = {};
  for (const [name, text, there] of [["detections", "Detections", true], ["truth", "Known slumps", known],
                                     ["area", "Area of interest", spec.area !== null]]) {
    switches[name] = make("input", {type: "checkbox", id: `rts-${name}`, checked: there});
    switches[name].text = there ? text : "";
  }
  const draw = () => {
    const judged = colour.value === "verdict";
    map.setPaintProperty("detections-fill", "fill-color", by[colour.value]);
    map.setPaintProperty("detections-line", "line-color", judged ? verdicts.hit : by.score);
    const on = {detections: switches.detections.checked, truth: switches.truth.checked, area: switches.area.checked};
    const shown = {"detections-fill": on.detections, "detections-halo": on.detections, "detections-line": on.detections,
                   "chosen-line": on.detections, "false-line": on.detections && judged, "truth-fill": on.truth,
                   "truth-line": on.truth && !judged, "missed-line": on.truth && judged, "missed-halo": on.truth && judged,
                   "area-line": on.area, "area-halo": on.area};
    for (const [id, is] of Object.entries(shown)) map.setLayoutProperty(id, "visibility", is ? "visible" : "none");
    if (!on.detections) app.choose(null);
    if (!on.truth) app.emit("known", null);
    legend.replaceChildren(...(judged
      ? [rts.key("hit", verdicts.hit, "solid"), rts.key("false alarm", verdicts["false alarm"], "dashed"),
         rts.key("missed", verdicts.missed, "dotted")]
      : [rts.ramp(ramp, `score ${least.toFixed(2)}`, best.toFixed(2)),
         known ? rts.key("known slump", blue, "dashed") : ""]));
    filter();
  };
  for (const is of ["missed-line", "missed-halo"]) map.setFilter(is, ["==", ["get", "verdict"], "missed"]);
  for (const e of [colour, ...Object.values(switches)]) e.addEventListener("input", draw);
  app.on("chosen", n => map.setFilter("chosen-line", ["==", ["get", "n"], n ?? -1]));
  app.emit("chosen", null);
  app.panel.append(make("section", {},
    ...Object.values(switches).filter(s => s.text).map(s => rts.field(s.text, s)), rts.field("Colour by", colour), legend));
  app.filters = make("div", {className: "filters"}, rts.field("Score", score), scoreText,
    ...(items.length > 1 ? [rts.field("Area", size), sizeText] : []), kinds, rts.field("undecided only", open), count);
  app.start.push(draw);
};
