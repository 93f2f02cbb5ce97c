// One upload as people know it: it waits, goes on, is paused, fails, is tried again, and is done.
// Knows nothing of the page that shows it.

import { Stopped } from "./packets.js";
import { Rate, backoffSeconds } from "./pace.js";
import { Passing, Problem } from "./problems.js";
import { UploadSession } from "./upload_session.js";

const ASK_SECONDS = 10;

/** States in which it is running, or has come to an end. */
export const RUNNING = new Set(["sending", "retrying", "finishing"]);
export const ENDED = new Set(["done", "cancelled"]);

/**
 * Tells "change" after each change. `state`: waiting, sending, retrying, finishing, paused, reply
 * (it waits to be saved), failed, cancelling, cancelled, done.
 */
export class UploadTask extends EventTarget {
  #session = null;
  #rate = new Rate();
  #stopper = new AbortController();
  #wake = () => {};
  #isRunning = false;

  /**
   * `file`, `base`, `memory`, `facts`, `print`, `entry`: as for UploadSession. `refusal`: a Problem
   * that the page knows beforehand, or null; nothing is sent then.
   */
  constructor(file, { base, facts, memory, print, entry = null, refusal = null }) {
    super();
    this.file = file;
    this.name = file.name;
    this.total = file.size;
    this.print = print;
    this.state = "waiting";
    this.problem = null;
    this.retryAt = 0;
    this.base = base;
    if (refusal) {
      this.#fail(refusal);
      return;
    }
    const changed = () => this.#sessionChanged();
    this.#session = new UploadSession(file, { base, memory, facts, print, entry, changed });
    if (this.#session.reply) this.state = "reply";
  }

  get sessionId() {
    return this.#session?.id ?? null;
  }

  /** Bytes that the server has acknowledged. */
  get received() {
    return this.#session?.received ?? 0;
  }

  /** And those that are on their way. */
  get position() {
    return this.#session?.position ?? 0;
  }

  /** The URL of a reply that lies elsewhere, or null. */
  get foreignReply() {
    return this.#session?.foreignReply ?? null;
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
    return this.state === "failed" && this.#session !== null && this.problem.mayChange;
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
    this.#session.begin();
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
    await this.#session?.giveUp();
    this.#set("cancelled");
  }

  /** The reply, whole. Throws Problem. */
  async fetchReply() {
    let response;
    try {
      response = await fetch(this.#session.reply, { cache: "no-store" });
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
    this.#session.endReply();
    this.#set("waiting");
  }

  async #tryToFinish(signal) {
    try {
      await this.#session.goOn(signal);
      if (!signal.aborted) this.#set(this.#session.reply ? "reply" : "done");
      return true;
    } catch (error) {
      if (signal.aborted || error instanceof Stopped) return true;
      if (!(error instanceof Passing || error instanceof Problem)) console.error(error);
      const closer = await this.#closer(error);
      if (signal.aborted) return true;
      if (closer instanceof Passing) {
        await this.#waitAfter(closer, signal);
        return false;
      }
      this.#fail(closer instanceof Problem ? closer : new Problem("unexpected"));
      return true;
    }
  }

  /**
   * What the page is told says more: 403 means that the file exists, or that the user may not
   * upload (any more); a login that leads elsewhere looks like a connection that is lost.
   */
  async #closer(error) {
    const isLostAgain = error.cause === "connectionLost" && this.#session.failures > 0;
    if (error.cause !== "exists" && !isLostAgain) return error;
    try {
      const response = await fetch(new URL("BITS-Sessions/.page/facts.json", this.base), {
        cache: "no-store",
        redirect: "manual",
        signal: AbortSignal.timeout(ASK_SECONDS * 1000),
      });
      if (response.type === "opaqueredirect") return new Problem("loggedOut");
      if (response.status === 403) return new Problem("notAllowed", error.code);
    } catch {
      // Then what is more likely.
    }
    return error;
  }

  async #waitAfter(passing, signal) {
    this.#session.failures += 1;
    this.#rate.forget();
    if (passing.cause === "smaller") return; // the server has answered, and waits for it
    const seconds = Math.max(passing.seconds, backoffSeconds(this.#session.failures));
    this.problem = passing;
    this.retryAt = Date.now() + seconds * 1000;
    this.#session.interrupt();
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

  #stop(state) {
    this.#session?.interrupt();
    this.#set(state);
    this.#stopper.abort();
  }

  #fail(problem) {
    this.problem = problem;
    this.#session?.interrupt();
    this.#set("failed");
  }

  #sessionChanged() {
    this.#rate.reached(this.position);
    if (this.state === "sending" && this.#session.isClosing) this.state = "finishing";
    this.#changed();
  }

  #set(state) {
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
