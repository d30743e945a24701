// Search in pages that are opened from a file: browsers refuse them workers, so a hidden frame runs
// the worker's script. The script finds `IFrameWorker` in its parent and loads its parts from there.
if (location.protocol === "file:") {
  window.IFrameWorker = class IFrameWorker extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inner = frame.contentWindow
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const script = inner.document.createElement("script")
      script.src = new URL(url, document.baseURI).href
      this.ready = new Promise((resolve, reject) => {
        script.addEventListener("load", () => resolve(inner))
        script.addEventListener("error", () => reject(new Error(`cannot load ${script.src}`)))
      })
      inner.document.body.append(script)
    }

    postMessage(data) {
      this.ready.then(inner => inner.dispatchEvent(new inner.MessageEvent("message", { data })))
    }
  }
  window.Worker = window.IFrameWorker
}
