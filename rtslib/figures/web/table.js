// The table beside the map: sorted, searched, walked through by keys. Only the rows in sight are in the page, so that it
// can hold tens of thousands.
rts.table = app => {
  const {spec, items, side} = app, {make} = rts, ROW = 27;
  const columns = [
    ["id", i => i.id, i => i.id], ["score", i => i.score, i => i.score.toFixed(2)],
    ["area", i => i.area, i => rts.area(i.area)], ["data", i => i.seen, i => `${i.seen}/${spec.modalities}`],
    ...(spec.truth ? [["verdict", i => i.verdict, i => i.verdict]] : []),
    ["✓✗", i => app.mark(i), i => app.mark(i)],
  ];
  const hints = {data: "modalities that have data there", "✓✗": "accepted or rejected"};
  const doubt = i => Math.abs(i.score - 0.5);
  let order = {of: doubt, up: true, name: "doubt"}, rows = [];
  const compare = (a, b) => {
    const [x, y] = [order.of(a), order.of(b)];
    const c = typeof x === "number" ? x - y : String(x).localeCompare(String(y), "en", {numeric: true});
    return (order.up ? c : -c) || a.n - b.n;
  };

  const list = make("div", {id: "rts-rows", tabIndex: 0}), inner = make("div", {}), head = make("div", {className: "head"});
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "detections");
  list.append(inner);
  const paint = () => {
    const first = Math.max(Math.floor(list.scrollTop / ROW) - 5, 0);
    const last = Math.min(first + Math.ceil(list.clientHeight / ROW) + 10, rows.length);
    inner.style.height = `${rows.length * ROW}px`;
    inner.replaceChildren(...rows.slice(first, last).map((item, k) => {
      const row = make("div", {className: `row ${item.n === app.chosen ? "chosen" : ""} ${app.state(item)}`,
                               style: {top: `${(first + k) * ROW}px`}},
        ...columns.map(([name, , text]) => make("span", {className: name, textContent: text(item)})));
      row.dataset.n = item.n;
      row.setAttribute("role", "option");
      row.title = item.modalities;
      return row;
    }));
  };
  const sort = () => {
    rows = [...app.shown].sort(compare);
    head.querySelectorAll("button").forEach(b => {
      b.classList.toggle("up", b.name === order.name && order.up);
      b.classList.toggle("down", b.name === order.name && !order.up);
    });
    paint();
  };
  for (const [name, of] of columns) {
    const b = make("button", {className: name, name, textContent: name, title: hints[name] || `sort by ${name}`});
    b.addEventListener("click", () => {
      order = {of, name, up: order.name === name ? !order.up : !["score", "area"].includes(name)};
      sort();
    });
    head.append(b);
  }
  const uncertain = make("button", {name: "doubt", id: "rts-doubt", textContent: "most uncertain first"});
  uncertain.addEventListener("click", () => { order = {of: doubt, up: true, name: "doubt"}; sort(); });
  head.append(uncertain);

  inner.addEventListener("click", e => {
    const row = e.target.closest(".row");
    if (row) app.choose(+row.dataset.n, {fly: true});
  });
  list.addEventListener("scroll", paint);
  new ResizeObserver(paint).observe(list);
  const reveal = n => {
    const k = rows.findIndex(i => i.n === n), top = k * ROW;
    if (k < 0) return;
    if (top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight)
      list.scrollTop = top - list.clientHeight / 2;
  };
  app.step = by => {
    if (!rows.length) return;
    const k = rows.findIndex(i => i.n === app.chosen);
    const next = k < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(k + by, 0), rows.length - 1);
    app.choose(rows[next].n, {fly: true});
  };
  app.find = id => {
    const n = items.findIndex(i => i.id === id);
    if (n < 0) return false;
    app.choose(n, {fly: true});
    return true;
  };
  const search = make("input", {type: "search", id: "rts-search", placeholder: "id, then Enter"});
  search.addEventListener("keydown", e => {
    if (e.key !== "Enter") return;
    search.setCustomValidity(app.find(search.value.trim()) ? "" : "no detection has this id");
    search.reportValidity();
  });
  search.addEventListener("input", () => search.setCustomValidity(""));
  const button = (text, title, does) => {
    const b = make("button", {textContent: text, title});
    b.addEventListener("click", does);
    return b;
  };
  side.append(make("div", {className: "bar"}, search, button("‹", "previous (k)", () => app.step(-1)),
    button("›", "next (j)", () => app.step(1)), button("back", "back to the view before (b)", () => app.back())),
    app.filters, head, list);
  addEventListener("keydown", e => {
    if (rts.typing() || e.ctrlKey || e.metaKey || e.altKey) return;
    const step = {j: 1, k: -1, ...(document.activeElement === list ? {ArrowDown: 1, ArrowUp: -1} : {})}[e.key];
    if (step) { app.step(step); e.preventDefault(); }
    if (e.key === "b") app.back();
    if (e.key === "/") { search.focus(); e.preventDefault(); }
  });
  app.on("shown", sort);
  app.on("decided", paint);
  app.on("chosen", n => { reveal(n); paint(); });
};
