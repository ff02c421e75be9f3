// Search in pages opened from disk. Browsers start no worker from file:, so its script runs in a hidden frame, which
// stands in for it; the theme's search knows such frames by the name IFrameWorker. Takes the place of the theme's own
// script for this, which it would fetch from another host.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      const load = (source) => new Promise((done, failed) => {
        const script = inside.document.createElement("script");
        Object.assign(script, { src: new URL(source, location), onload: done, onerror: failed });
        inside.document.body.append(script);
      });
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = (...sources) => sources.reduce((before, s) => before.then(() => load(s)), Promise.resolve());
      this.deliver = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data }));
      load(address).then(() => {
        this.waiting.forEach(this.deliver);
        this.waiting = null;
      });
    }

    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.deliver(data);
    }
  };
}
