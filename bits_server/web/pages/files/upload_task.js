// One upload from its file to its Close-Session. Knows nothing of the page that shows it.

import { Packets, ConnectionLost, Stopped } from "./packets.js";
import { FragmentSize, Rate, backoffSeconds } from "./pace.js";
import { Passing, Problem, SESSION_NOT_FOUND, problemOf } from "./problems.js";

const MOST_NEW_SESSIONS = 3; // without a byte more than before

/** States in which it wants to be run, is running, or has come to an end. */
export const RUNNING = new Set(["sending", "retrying", "finishing"]);
export const ENDED = new Set(["done", "cancelled"]);

/**
 * Tells "change" after each change. `state`: waiting, sending, retrying, finishing, paused, reply
 * (it waits to be saved), failed, cancelling, cancelled, done. `received`: bytes that the server has
 * acknowledged; `position`: and those that are on their way.
 */
export class UploadTask extends EventTarget {
  #packets;
  #memory;
  #print;
  #size;
  #rate = new Rate();
  #stopper = new AbortController();
  #isUncertain = false; // how much the server has
  #isClosing = false;
  #isComplete = false;
  #newSessions = 0;
  #failures = 0;
  #wake = () => {};
  #isRunning = false;

  /**
   * `file`: a File, or of an upload whose reply waits only what is remembered of it. `facts`: of the
   * server; `print`: the file's fingerprint; `entry`: what is remembered of an earlier beginning.
   */
  constructor(file, { base, memory, facts, print, entry = null }) {
    super();
    this.file = file;
    this.name = file.name;
    this.total = file.size;
    this.state = "waiting";
    this.problem = null;
    this.retryAt = 0;
    this.sessionId = entry?.sessionId ?? null;
    this.received = this.position = entry?.received ?? 0;
    this.hasReply = false;
    this.replyUrl = null;
    this.foreignReplyUrl = null;
    this.isResumed = entry !== null;
    this.base = base;
    this.facts = facts;
    this.#memory = memory;
    this.#print = print;
    this.#size = new FragmentSize(facts.maximumFragmentSize);
    this.#isUncertain = entry !== null;
    this.#isClosing = entry?.isClosing ?? false;
    const refusal = refusalOf(file, facts);
    if (refusal) this.#fail(refusal);
    else this.#packets = new Packets(new URL(encodeURIComponent(file.name), base));
    if (entry?.hasReply) this.#offerReply();
  }

  get bytesPerSecond() {
    return this.#rate.bytesPerSecond;
  }

  get secondsLeft() {
    const rate = this.bytesPerSecond;
    return rate ? (this.total - this.position) / rate : null;
  }

  /** Whether what refused it may change. */
  get canRetry() {
    return this.state === "failed" && this.#packets !== undefined;
  }

  get canPause() {
    return this.state === "waiting" || this.state === "sending" || this.state === "retrying";
  }

  /** Go on until it is done, stopped, or cannot go on. Never throws. */
  async run() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#stopper = new AbortController();
    const signal = this.#stopper.signal;
    this.problem = null;
    this.#failures = 0;
    this.#newSessions = 0;
    this.#set("sending");
    try {
      while (!signal.aborted && !(await this.#tryToFinish(signal)));
    } finally {
      this.#isRunning = false;
      this.#rate.forget();
      this.#changed();
    }
  }

  pause() {
    if (this.canPause) this.#stop("paused");
  }

  /** Into the queue again, after a pause or a failure. */
  resume() {
    if (this.state === "paused" || this.state === "failed") this.#set("waiting");
  }

  retryNow() {
    this.#wake();
  }

  /** Give it up, here and on the server. */
  async cancel() {
    if (ENDED.has(this.state)) return;
    this.#stop("cancelling");
    if (this.sessionId) {
      this.#memory.forget(this.sessionId);
      try {
        await this.#packets.cancel(this.sessionId);
      } catch {
        // The server removes it by itself after a while.
      }
    }
    this.#set("cancelled");
  }

  /** The reply, whole. Throws Problem. */
  async fetchReply() {
    let response;
    try {
      response = await fetch(this.replyUrl, { cache: "no-store" });
    } catch {
      throw new Problem("replyLost");
    }
    if (!response.ok) throw new Problem("replyGone", `HTTP ${response.status}`);
    try {
      return await response.blob();
    } catch {
      throw new Problem("replyLost");
    }
  }

  /** The reply is saved, or not wanted: have the upload closed. */
  finish() {
    if (this.state !== "reply") return;
    this.hasReply = false;
    this.#isComplete = this.#isClosing = true;
    this.#remember();
    this.#set("waiting");
  }

  async #tryToFinish(signal) {
    try {
      await this.#goOn(signal);
      return true;
    } catch (error) {
      if (signal.aborted || error instanceof Stopped) return true;
      if (error instanceof Passing) {
        await this.#waitAfter(error, signal);
        return false;
      }
      this.#fail(error instanceof Problem ? await this.#closer(error) : new Problem("unexpected"));
      if (!(error instanceof Problem)) console.error(error);
      return true;
    }
  }

  async #goOn(signal) {
    if (this.#isClosing) {
      await this.#close(signal);
      return;
    }
    if (!this.sessionId) await this.#create(signal);
    else if (this.#isUncertain) await this.#probe(signal);
    while (!this.#isComplete) await this.#sendNext(signal);
    if (this.hasReply) this.#offerReply();
    else await this.#close(signal);
  }

  async #create(signal) {
    const ack = await this.#exchange(() => this.#packets.create(signal));
    if (!ack.sessionId) throw new Problem("otherServer");
    this.sessionId = ack.sessionId;
    this.received = this.position = 0;
    this.#isUncertain = false;
    this.#remember();
    this.#changed();
  }

  /** The last byte by itself: where it comes too early, the answer says what is missing (416). */
  async #probe(signal) {
    if (this.total > 0) await this.#send(this.total - 1, this.total, signal);
    this.#isUncertain = false;
  }

  async #sendNext(signal) {
    const first = this.received;
    const end = Math.min(first + this.#size.bytes, this.total);
    const began = performance.now();
    this.#rate.reached(first);
    await this.#send(first, end, signal);
    this.#size.wasSent(end - first, (performance.now() - began) / 1000);
  }

  async #send(first, end, signal) {
    const blob = this.file.slice(first, end);
    const told = (loaded) => {
      if (first !== this.received) return; // a probe
      this.position = Math.min(first + loaded, end);
      this.#rate.reached(this.position);
      this.#changed();
    };
    const ack = await this.#exchange(
      () => this.#packets.fragment(this.sessionId, blob, first, this.total, signal, told),
      blob,
    );
    const received = ack.received ?? end;
    if (received > this.received) this.#failures = this.#newSessions = 0;
    this.received = this.position = received;
    if (ack.status !== 416 && received >= this.total) {
      this.#isComplete = true;
      this.#takeReply(ack.replyUrl);
    }
    this.#remember();
    this.#changed();
  }

  async #close(signal) {
    this.#isClosing = true;
    this.#remember();
    this.#set("finishing");
    await this.#exchange(() => this.#packets.close(this.sessionId, signal));
    this.#memory.forget(this.sessionId);
    this.received = this.position = this.total;
    this.#set("done");
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
    if (ack.isSuccess || (ack.status === 416 && ack.received !== null)) {
      if (this.state === "retrying") this.#set("sending");
      return ack;
    }
    this.#isUncertain = true;
    if (ack.status === 413 && blob && this.#size.wasTooLarge()) throw new Passing("smaller");
    if (ack.hresult === SESSION_NOT_FOUND) this.#beginAnew();
    throw problemOf(ack, this.#failures);
  }

  #beginAnew() {
    this.#memory.forget(this.sessionId);
    this.sessionId = null;
    this.received = this.position = 0;
    this.#isComplete = this.#isClosing = this.#isUncertain = this.hasReply = false;
    this.#newSessions += 1;
    if (!(this.file instanceof File)) throw new Problem("sessionGone");
    if (this.#newSessions > MOST_NEW_SESSIONS) throw new Problem("sessionLost");
    throw new Passing("sessionLost");
  }

  /** 403 says that the file exists, or that the user may not upload (any more). */
  async #closer(problem) {
    if (problem.cause !== "exists") return problem;
    try {
      const response = await fetch(new URL("BITS-Sessions/.page/facts.json", this.base));
      if (response.status === 403) return new Problem("notAllowed", problem.code);
    } catch {
      // Then what is more likely.
    }
    return problem;
  }

  async #waitAfter(passing, signal) {
    this.#failures += 1;
    this.#rate.forget();
    if (passing.cause === "smaller") return; // the server has answered, and waits for it
    const seconds = Math.max(passing.seconds, backoffSeconds(this.#failures));
    this.problem = passing;
    this.retryAt = Date.now() + seconds * 1000;
    this.position = this.received;
    this.#set("retrying");
    await new Promise((resolve) => {
      const alarm = setTimeout(resolve, seconds * 1000);
      this.#wake = () => {
        clearTimeout(alarm);
        resolve();
      };
      signal.addEventListener("abort", this.#wake, { once: true });
    });
    this.#wake = () => {};
    if (signal.aborted) return;
    this.problem = null;
    this.#set("sending");
  }

  #takeReply(text) {
    if (!text) return;
    const url = new URL(text, this.base);
    const own = new URL(`BITS-Sessions/${encodeURIComponent(this.sessionId)}/response`, this.base);
    this.hasReply = url.pathname.toLowerCase() === own.pathname.toLowerCase();
    // Known by another name, too, it is here. What lies elsewhere stays there, and is only named.
    if (!this.hasReply && /^https?:$/.test(url.protocol)) this.foreignReplyUrl = url.href;
  }

  #offerReply() {
    this.hasReply = this.#isComplete = true;
    this.received = this.position = this.total;
    const path = `BITS-Sessions/${encodeURIComponent(this.sessionId)}/response`;
    this.replyUrl = new URL(path, this.base).href;
    this.#remember();
    this.#set("reply");
  }

  #remember() {
    if (!this.sessionId) return;
    this.#memory.keep({
      sessionId: this.sessionId,
      name: this.name,
      size: this.total,
      modified: this.file.lastModified,
      print: this.#print,
      received: this.received,
      isClosing: this.#isClosing,
      hasReply: this.hasReply,
    });
  }

  #stop(state) {
    this.#isUncertain = true;
    this.position = this.received;
    this.#set(state);
    this.#stopper.abort();
  }

  #fail(problem) {
    this.problem = problem;
    this.#isUncertain = true;
    this.position = this.received;
    this.#set("failed");
  }

  #set(state) {
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** What the page can say before it sends anything. */
function refusalOf(file, facts) {
  if (file.isFolder) return new Problem("folder");
  if (!file.name.isWellFormed()) return new Problem("badName");
  const limit = facts.maximumUploadSize;
  return limit !== null && file.size > limit ? new Problem("tooLarge") : null;
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
