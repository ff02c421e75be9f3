// Says why the map stays empty where the browser has no WebGL.
addEventListener("DOMContentLoaded", () => {
  const canvas = document.createElement("canvas");
  if (!canvas.getContext("webgl2") && !canvas.getContext("webgl")) {
    document.body.textContent = "This map needs WebGL, which this browser has switched off.";
  }
});
