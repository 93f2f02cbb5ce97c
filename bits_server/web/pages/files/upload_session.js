// The session of one upload: what the server has of the file, and the packets that bring the rest.
// Knows neither the page nor whether somebody has paused it; that is the task's.

import { Packets, ConnectionLost, Stopped } from "./packets.js";
import { FragmentSize } from "./pace.js";
import { Passing, Problem, SESSION_NOT_FOUND, isPassing, problemOf } from "./problems.js";

const MOST_NEW_SESSIONS = 3; // without a byte more than before
const CANCEL_AGAIN_SECONDS = [5, 30, 120]; // after that the server removes it by itself

/**
 * `received`: bytes that the server has acknowledged; `position`: and those that are on their way.
 * `isClosing`: all is there but the end; `reply`: where a reply waits, or null.
 */
export class UploadSession {
  #packets;
  #memory;
  #print;
  #size;
  #changed;
  #isUncertain; // how much the server has
  #isComplete = false;
  #newSessions = 0;

  /**
   * `file`: a File, or of an upload whose reply waits only what is remembered of it. `entry`: what
   * is remembered of an earlier beginning, or null. `changed`: is called after each change.
   */
  constructor(file, { base, memory, facts, print, entry, changed }) {
    this.file = file;
    this.base = base;
    this.id = entry?.sessionId ?? null;
    this.received = this.position = entry?.received ?? 0;
    this.isClosing = entry?.isClosing ?? false;
    this.reply = null;
    this.foreignReply = null;
    this.failures = 0; // since something last went on
    this.#packets = new Packets(new URL(encodeURIComponent(file.name), base));
    this.#memory = memory;
    this.#print = print;
    this.#size = new FragmentSize(facts.maximumFragmentSize);
    this.#changed = changed;
    this.#isUncertain = entry !== null;
    if (entry?.hasReply) this.#offerReply();
  }

  /** Somebody wants it: what failed before counts no more. */
  begin() {
    this.failures = this.#newSessions = 0;
  }

  /** Go on until a reply waits or it is closed. Throws Passing, Problem, Stopped. */
  async goOn(signal) {
    if (this.isClosing) {
      await this.#close(signal);
      return;
    }
    if (!this.id) await this.#create(signal);
    else if (this.#isUncertain) await this.#probe(signal);
    while (!this.#isComplete) await this.#sendNext(signal);
    if (!this.reply) await this.#close(signal);
  }

  /** What is on its way arrives, or not; nobody waits for it. */
  interrupt() {
    this.#isUncertain = true;
    this.position = this.received;
  }

  /** The reply is not wanted any more: what is left is to close. */
  endReply() {
    this.reply = null;
    this.#isComplete = this.isClosing = true;
    this.#remember();
  }

  /** Have the server forget it, now or when it can be reached. */
  async giveUp() {
    if (!this.id) return;
    this.#memory.forget(this.id);
    if (!(await this.#cancel())) this.#cancelLater();
  }

  async #cancel() {
    try {
      return !isPassing(await this.#packets.cancel(this.id));
    } catch {
      return false;
    }
  }

  async #cancelLater() {
    for (const seconds of CANCEL_AGAIN_SECONDS) {
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      if (await this.#cancel()) return;
    }
  }

  async #create(signal) {
    const ack = await this.#exchange(() => this.#createUnlessStopped(signal));
    if (!ack.sessionId) throw new Problem("otherServer");
    this.id = ack.sessionId;
    this.received = this.position = 0;
    this.#isUncertain = false;
    this.#remember();
    this.#changed();
  }

  /** Never broken off: a session of which nobody knows would stay on the server for days. */
  #createUnlessStopped(signal) {
    return new Promise((resolve, reject) => {
      const creating = this.#packets.create();
      const stop = () => {
        reject(new Stopped());
        const removeLate = (ack) => ack.sessionId && this.#packets.cancel(ack.sessionId);
        creating.then(removeLate).catch(() => {});
      };
      signal.addEventListener("abort", stop, { once: true });
      creating.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
    });
  }

  /** The last byte by itself: where it comes too early, the answer says what is missing (416). */
  async #probe(signal) {
    const total = this.file.size;
    if (total > 0) await this.#send(total - 1, total, signal);
    this.#isUncertain = false;
  }

  async #sendNext(signal) {
    const first = this.received;
    const end = Math.min(first + this.#size.bytes, this.file.size);
    const began = performance.now();
    await this.#send(first, end, signal);
    this.#size.wasSent(end - first, (performance.now() - began) / 1000);
  }

  async #send(first, end, signal) {
    const blob = this.file.slice(first, end);
    const told = (loaded) => {
      if (first !== this.received) return; // a probe
      this.position = Math.min(first + loaded, end);
      this.#changed();
    };
    const ack = await this.#exchange(
      () => this.#packets.fragment(this.id, blob, first, this.file.size, signal, told),
      blob,
    );
    const received = ack.received ?? end;
    if (received > this.received) this.begin();
    this.received = this.position = received;
    if (ack.status !== 416 && received >= this.file.size) {
      this.#isComplete = true;
      this.#takeReply(ack.replyUrl);
    }
    this.#remember();
    this.#changed();
  }

  async #close(signal) {
    this.isClosing = true;
    this.#remember();
    this.#changed();
    await this.#exchange(() => this.#packets.close(this.id, signal));
    this.#memory.forget(this.id);
    this.received = this.position = this.file.size;
  }

  /** One packet. Returns a success or a 416; throws what else came of it. */
  async #exchange(send, blob = null) {
    let ack;
    try {
      ack = await send();
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
      if (blob && !(await isReadable(blob))) throw new Problem("unreadable");
      this.#isUncertain = true;
      this.#size.wasLost();
      throw new Passing("connectionLost");
    }
    if (ack.isSuccess || (ack.status === 416 && ack.received !== null)) return ack;
    this.#isUncertain = true;
    if (ack.status === 413 && blob && this.#size.wasTooLarge()) throw new Passing("smaller");
    if (ack.hresult === SESSION_NOT_FOUND) this.#beginAnew();
    throw problemOf(ack, this.failures);
  }

  #beginAnew() {
    this.#memory.forget(this.id);
    this.id = this.reply = null;
    this.received = this.position = 0;
    this.#isComplete = this.isClosing = this.#isUncertain = false;
    this.#newSessions += 1;
    if (!(this.file instanceof File)) throw new Problem("sessionGone");
    if (this.#newSessions > MOST_NEW_SESSIONS) throw new Problem("sessionLost");
    throw new Passing("sessionLost");
  }

  #takeReply(text) {
    if (!text) return;
    const url = new URL(text, this.base);
    // Known by another name, too, it is here. What lies elsewhere stays there, and is only named.
    if (url.pathname.toLowerCase() === this.#ownReply().pathname.toLowerCase()) this.#offerReply();
    else if (/^https?:$/.test(url.protocol)) this.foreignReply = url.href;
  }

  #ownReply() {
    return new URL(`BITS-Sessions/${encodeURIComponent(this.id)}/response`, this.base);
  }

  #offerReply() {
    this.#isComplete = true;
    this.received = this.position = this.file.size;
    this.reply = this.#ownReply().href;
  }

  #remember() {
    if (!this.id) return;
    this.#memory.keep({
      sessionId: this.id,
      name: this.file.name,
      size: this.file.size,
      modified: this.file.lastModified,
      print: this.#print,
      received: this.received,
      isClosing: this.isClosing,
      hasReply: this.reply !== null,
    });
  }
}

/** Whether the browser still gets at it: a file that was changed or removed cannot be sent. */
async function isReadable(blob) {
  try {
    await blob.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
