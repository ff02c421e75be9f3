// Tools of the map page. Texts from data reach the page through `textContent` alone, never as HTML.
"use strict";
const rts = {};

// An element with properties and children.
rts.make = (tag, props, ...children) => {
  const {style, ...rest} = props || {};
  const e = Object.assign(document.createElement(tag), rest);
  Object.assign(e.style, style);
  e.append(...children.filter(c => c !== null && c !== undefined && c !== ""));
  return e;
};

// A labelled input: text first or, for boxes and radios, last.
rts.field = (text, input) => {
  const last = ["checkbox", "radio"].includes(input.type);
  return rts.make("label", {className: last ? "box" : "field"}, ...(last ? [input, text] : [text, input]));
};

rts.select = (options, chosen) => {
  const e = rts.make("select", {}, ...options.map(([value, text]) => rts.make("option", {value, textContent: text})));
  e.value = chosen;
  return e;
};

// An area for reading: m² below a hectare.
rts.area = m2 => m2 < 1e4 ? `${Math.round(m2).toLocaleString("en")} m²`
  : `${(m2 / 1e4).toLocaleString("en", {minimumFractionDigits: 2, maximumFractionDigits: 2})} ha`;

// A place for reading; longitudes of a scene across 180 degrees go on beyond it.
rts.place = (lat, lng) => {
  const {lng: lon} = new maplibregl.LngLat(lng, lat).wrap();
  return `${Math.abs(lat).toFixed(5)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(5)}° ${lon < 0 ? "W" : "E"}`;
};

// Distance on a sphere, m; points are [lon, lat].
rts.metres = (a, b) => new maplibregl.LngLat(...a).distanceTo(new maplibregl.LngLat(...b));

// A colour ramp with its ends, as a legend.
rts.ramp = (colours, low, high) => rts.make("div", {className: "ramp"},
  rts.make("i", {style: {background: `linear-gradient(to right, ${colours.join(", ")})`}}),
  rts.make("span", {textContent: low}), rts.make("span", {textContent: high}));

// A line as drawn on the map, as a legend.
rts.key = (text, colour, kind) => rts.make("div", {className: "key"},
  rts.make("i", {style: {borderTop: `3px ${kind} ${colour}`}}), text);

rts.typing = () => ["TEXTAREA", "SELECT"].includes(document.activeElement.tagName)
  || (document.activeElement.tagName === "INPUT" && ["search", "text", "number"].includes(document.activeElement.type));

// Who listens to what: `on(name, f)` and `emit(name, value)`.
rts.bus = () => {
  const heard = {};
  return {
    on: (name, f) => (heard[name] ||= []).push(f),
    emit: (name, value) => (heard[name] || []).forEach(f => f(value)),
  };
};
