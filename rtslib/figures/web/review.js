// Review: a (accept), r (reject), n (note), u (undo), kept in this browser and saved as the file that
// `python -m rtslib review MAP --decisions FILE` reads.
rts.review = app => {
  const {map, spec, items, side} = app, {make} = rts, KEY = `rts-review ${spec.digest}`;
  let decisions = {...spec.decisions}, name = "", kept = true;  // id -> {accepted, comment, reviewer}
  try {
    const saved = JSON.parse(localStorage.getItem(KEY));
    if (saved) ({decisions, name} = saved);
  } catch { kept = false; }
  const undone = [];

  const of = item => decisions[item.id] || {accepted: null, comment: "", reviewer: ""};
  app.isDecided = item => of(item).accepted !== null;
  app.mark = item => ({true: "✓", false: "✗"}[of(item).accepted] || "") + (of(item).comment ? "✎" : "");
  app.state = item => ({true: "accepted", false: "rejected"}[of(item).accepted] || "");

  const keep = () => {
    try { localStorage.setItem(KEY, JSON.stringify({decisions, name})); kept = true; } catch { kept = false; }
  };
  const progress = make("div", {id: "rts-progress"}), bar = make("progress", {max: Math.max(items.length, 1)});
  const tell = item => {
    map.setFeatureState({source: "detections", id: item.n}, {accepted: of(item).accepted});
  };
  const count = () => {
    const all = items.map(of), n = all.filter(d => d.accepted !== null).length;
    const yes = all.filter(d => d.accepted === true).length;
    bar.value = n;
    progress.textContent = `${n} of ${items.length} reviewed: ${yes} accepted, ${n - yes} rejected`
      + (kept ? "" : " (this browser keeps nothing: save them)");
  };
  const put = (item, decision) => {
    const {accepted, comment} = decision;
    if (accepted === null && !comment) delete decisions[item.id];
    else decisions[item.id] = {accepted, comment, reviewer: name};
    keep();
    tell(item);
    count();
    app.emit("decided", item);
  };
  const change = (item, what) => {
    undone.push([item, decisions[item.id]]);
    put(item, {...of(item), ...what});
  };
  const undo = () => {
    const [item, before] = undone.pop() || [];
    if (!item) return;
    if (before) decisions[item.id] = before; else delete decisions[item.id];
    keep();
    tell(item);
    count();
    app.emit("decided", item);
    app.choose(item.n, {fly: true});
  };
  const decide = accepted => {
    if (app.chosen === null) return;
    const item = items[app.chosen];
    change(item, {accepted: of(item).accepted === accepted ? null : accepted});
  };

  // The part of the pop-up that decides.
  app.decide = item => {
    const button = (text, key, value) => {
      const b = make("button", {className: `decide ${text}`, textContent: `${text} (${key})`});
      b.addEventListener("click", () => decide(value));
      return b;
    };
    const yes = button("accept", "a", true), no = button("reject", "r", false);
    const note = make("textarea", {id: "rts-note", rows: 1, placeholder: "note (n)", value: of(item).comment});
    note.addEventListener("change", () => {
      if (note.value.trim() !== of(item).comment) change(item, {comment: note.value.trim()});
    });
    note.addEventListener("keydown", e => {
      if (e.key === "Enter" && !e.shiftKey) { e.preventDefault(); note.blur(); }
      if (e.key === "Escape") { e.stopPropagation(); note.blur(); }
    });
    const show = () => {
      yes.setAttribute("aria-pressed", of(item).accepted === true);
      no.setAttribute("aria-pressed", of(item).accepted === false);
      note.value = of(item).comment;
    };
    show();
    app.onDecided = other => other === item && show();
    return make("div", {className: "review"}, yes, no, note);
  };
  app.on("decided", item => app.onDecided?.(item));

  addEventListener("keydown", e => {
    if (rts.typing() || e.metaKey || e.altKey || (e.ctrlKey && e.key !== "z")) return;
    if (e.key === "u" || e.key === "z" && e.ctrlKey) return undo();
    if (app.chosen === null) return;
    if (e.key === "a") decide(true);
    if (e.key === "r") decide(false);
    if (e.key === "n") { document.getElementById("rts-note")?.focus(); e.preventDefault(); }
  });

  const who = make("input", {type: "text", id: "rts-reviewer", placeholder: "your name", value: name});
  who.addEventListener("change", () => { name = who.value.trim(); keep(); });
  const save = make("button", {id: "rts-save", textContent: "save decisions"});
  save.addEventListener("click", () => {
    const rows = items.filter(i => decisions[i.id]).map(i => ({id: i.id, ...decisions[i.id]}));
    const text = JSON.stringify({map: spec.digest, decisions: rows}, null, 1);
    const url = URL.createObjectURL(new Blob([text], {type: "application/json"}));
    make("a", {href: url, download: "decisions.json"}).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
  const back = make("button", {textContent: "undo (u)"});
  back.addEventListener("click", undo);
  side.append(make("div", {className: "bar"}, who, save, back), progress, bar);
  app.start.push(() => { items.forEach(i => app.isDecided(i) && tell(i)); count(); });
};
