// What every map has: scale bar, coordinates, north arrow, buttons; and the link to one slump, `#id=8`.
rts.furniture = app => {
  const {map} = app, {make} = rts;
  map.addControl(new maplibregl.NavigationControl({showCompass: false}), "top-right");
  map.addControl(new maplibregl.FullscreenControl({container: document.body}), "top-right");
  map.addControl(new maplibregl.ScaleControl({maxWidth: 120}), "bottom-right");
  const where = make("div", {id: "rts-where"});
  map.on("mousemove", e => { where.textContent = rts.place(e.lngLat.lat, e.lngLat.lng); });
  const north = make("button", {id: "rts-north", title: "north; click to turn it up"},
    make("span", {textContent: "▲"}), make("b", {textContent: "N"}));
  map.on("rotate", () => { north.style.transform = `rotate(${-map.getBearing()}deg)`; });
  north.addEventListener("click", () => map.easeTo({bearing: 0, pitch: 0}));
  map.getContainer().append(where, north);

  const read = () => {
    const id = new URLSearchParams(location.hash.slice(1)).get("id");
    if (id !== null) app.find(id);
  };
  app.on("chosen", n => {
    if (location.protocol === "about:") return;  // a page in a page has no address of its own
    const hash = n === null ? location.pathname + location.search : `#id=${encodeURIComponent(app.items[n].id)}`;
    history.replaceState(null, "", hash);
  });
  addEventListener("hashchange", read);
  app.start.push(read);
};
