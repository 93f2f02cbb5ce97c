// Packets of the BITS Upload Protocol as a browser can send them: POST with the override header.

const UPLOAD_PROTOCOL = "{7df0354d-249b-430f-820d-3d2a9bef4931}";
const SILENCE_SECONDS = 60; // while something is being sent
const PATIENCE_SECONDS = 330; // for the answer: a server application may take its time

/** No answer came: the line, the server, or what stands between. */
export class ConnectionLost extends Error {}

/** Whoever holds the signal wanted no more of it. */
export class Stopped extends Error {}

/** The answer to a packet. */
class Ack {
  constructor(request) {
    const field = (name) => request.getResponseHeader(name);
    this.status = request.status;
    this.isAck = field("BITS-Packet-Type")?.toLowerCase() === "ack";
    this.hresult = field("BITS-Error-Code");
    this.isOfApplication = field("BITS-Error-Context") === "0x7";
    this.sessionId = field("BITS-Session-Id");
    this.replyUrl = field("BITS-Reply-URL");
    this.received = wholeNumber(field("BITS-Received-Content-Range"));
    this.retryAfterSeconds = wholeNumber(field("Retry-After"));
  }

  get isSuccess() {
    return this.isAck && this.status >= 200 && this.status < 300 && this.hresult === null;
  }
}

/** Sends the packets of one upload to `url`, its destination. */
export class Packets {
  #url;

  constructor(url) {
    this.#url = url;
  }

  create() {
    return this.#send("Create-Session", { "BITS-Supported-Protocols": UPLOAD_PROTOCOL });
  }

  /** `blob`: what of the file begins at `first`; `onProgress` is told how much of it has gone. */
  fragment(sessionId, blob, first, total, signal, onProgress) {
    const range = blob.size ? `${first}-${first + blob.size - 1}` : "*";
    const fields = { "BITS-Session-Id": sessionId, "Content-Range": `bytes ${range}/${total}` };
    return this.#send("Fragment", fields, signal, blob, onProgress);
  }

  close(sessionId, signal) {
    return this.#send("Close-Session", { "BITS-Session-Id": sessionId }, signal);
  }

  cancel(sessionId, signal) {
    return this.#send("Cancel-Session", { "BITS-Session-Id": sessionId }, signal);
  }

  #send(kind, fields, signal, body = null, onProgress = () => {}) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(new Stopped());
        return;
      }
      // Not fetch, which does not tell how much of a body has gone.
      const request = new XMLHttpRequest();
      let alarm = 0;
      const wait = (seconds) => {
        clearTimeout(alarm);
        alarm = setTimeout(() => request.abort(), seconds * 1000);
      };
      const stop = () => request.abort();
      request.onload = () => resolve(new Ack(request));
      request.onerror = () => reject(new ConnectionLost());
      request.onabort = () => reject(signal?.aborted ? new Stopped() : new ConnectionLost());
      request.onloadend = () => {
        clearTimeout(alarm);
        signal?.removeEventListener("abort", stop);
      };
      request.upload.onprogress = (event) => {
        wait(SILENCE_SECONDS);
        onProgress(event.loaded);
      };
      request.upload.onload = () => wait(PATIENCE_SECONDS);
      signal?.addEventListener("abort", stop);
      request.open("POST", this.#url);
      request.setRequestHeader("X-HTTP-Method-Override", "BITS_POST");
      request.setRequestHeader("BITS-Packet-Type", kind);
      for (const [name, value] of Object.entries(fields)) request.setRequestHeader(name, value);
      wait(body ? SILENCE_SECONDS : PATIENCE_SECONDS);
      request.send(body);
    });
  }
}

function wholeNumber(text) {
  return text !== null && /^\d{1,16}$/.test(text) ? Number(text) : null;
}
