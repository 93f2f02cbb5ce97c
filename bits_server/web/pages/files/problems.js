// What an answer means for an upload: to go on, to try again later, or to stop and say why.

export const SESSION_NOT_FOUND = "0x8020001F";
const TOO_LARGE = "0x80200020";

const TRANSIENT = new Set([408, 409, 425, 429, 502, 503, 504]);
const LONGEST_WAIT_SECONDS = 3600; // whatever Retry-After says
const TRIES = 6; // of what may be a defect, which does not pass by itself

// What stays as it is, however often the same file is sent from here.
const FINAL = new Set(["badName", "folder", "otherTab", "sessionGone", "unreadable"]);

/** It stops; `cause` names a text of PROBLEMS. */
export class Problem extends Error {
  constructor(cause, code = "") {
    super(cause);
    this.cause = cause;
    this.code = code;
  }

  /** Whether it is worth another try. */
  get mayChange() {
    return !FINAL.has(this.cause);
  }
}

/** It passes by itself: try again, after `seconds` at least. */
export class Passing extends Error {
  constructor(cause, seconds = 0) {
    super(cause);
    this.cause = cause;
    this.seconds = seconds;
  }
}

const CAUSES = {
  "0x80070005": "exists",
  "0x80070003": "noFolder",
  "0x80070002": "vanished",
  "0x80070057": "badName",
  [TOO_LARGE]: "tooLarge",
  "0x80070070": "diskFull",
};

/** Whether the same request may get another answer by itself. */
export function isPassing(ack) {
  return TRANSIENT.has(ack.status);
}

/**
 * What to do after an answer that is no success. `failures`: how often it has failed since
 * something last went on.
 */
export function problemOf(ack, failures) {
  const code = ack.hresult ?? `HTTP ${ack.status}`;
  if (ack.isOfApplication) {
    if (ack.status >= 500 && ack.status !== 501) return new Passing("applicationFailed", 5);
    return new Problem("applicationRefused", code);
  }
  if (isPassing(ack)) {
    const cause = ack.isAck ? "busy" : "unreachable";
    return new Passing(cause, Math.min(ack.retryAfterSeconds ?? 0, LONGEST_WAIT_SECONDS));
  }
  if (ack.status === 401) return new Problem("loggedOut", code);
  if (ack.status === 501) return new Problem("uploadsOff", code);
  if (ack.hresult in CAUSES) {
    const cause = CAUSES[ack.hresult];
    return cause === "diskFull" ? new Passing(cause, 15) : new Problem(cause, code);
  }
  if (!ack.isAck && ack.status === 413) return new Problem("requestTooLarge", code);
  if (!ack.isAck && ack.status < 500) return new Problem("otherServer", code);
  if (failures < TRIES) return new Passing("failed", 2);
  return new Problem("failed", code);
}
