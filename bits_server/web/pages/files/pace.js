// How much goes at a time, how fast it goes, and how long to wait after a failure.

const SMALLEST = 5 * 1024; // what every server of BITS takes
const SMALLEST_ON_A_BAD_LINE = 64 * 1024;
const FIRST = 1 << 20;
const LARGEST = 32 << 20;
const QUICK_SECONDS = 2;
const SLOW_SECONDS = 6;

/** The size of the next Fragment: a few seconds' worth, so that a lost one costs little. */
export class FragmentSize {
  constructor(maximum = LARGEST) {
    this.maximum = Math.max(SMALLEST, Math.min(maximum, LARGEST));
    this.bytes = Math.min(FIRST, this.maximum);
  }

  wasSent(bytes, seconds) {
    if (seconds > SLOW_SECONDS) this.#set(this.bytes / 2, SMALLEST_ON_A_BAD_LINE);
    else if (seconds < QUICK_SECONDS && bytes >= this.bytes) this.#set(this.bytes * 2, SMALLEST);
  }

  wasLost() {
    this.#set(this.bytes / 2, SMALLEST_ON_A_BAD_LINE);
  }

  /** The server takes no requests of this size. False: nor smaller ones. */
  wasTooLarge() {
    if (this.bytes <= SMALLEST) return false;
    this.maximum = Math.max(SMALLEST, Math.floor(this.bytes / 2));
    this.#set(this.maximum, SMALLEST);
    return true;
  }

  #set(bytes, least) {
    this.bytes = Math.floor(Math.min(this.maximum, Math.max(least, bytes)));
  }
}

/** Bytes per second over the last seconds; null until that can be said. */
export class Rate {
  #samples = [];

  constructor(seconds = 8) {
    this.seconds = seconds;
  }

  reached(position, now = performance.now()) {
    const last = this.#samples.at(-1);
    if (last && position < last.position) this.#samples = []; // it goes on from further back
    this.#samples.push({ position, now });
    while (this.#samples.length > 2 && now - this.#samples[1].now > this.seconds * 1000) {
      this.#samples.shift();
    }
  }

  forget() {
    this.#samples = [];
  }

  get bytesPerSecond() {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || last.now - first.now < 500) return null;
    return ((last.position - first.position) * 1000) / (last.now - first.now);
  }
}

/** Seconds to wait after the failure of this number, counted from 1. */
export function backoffSeconds(number) {
  const seconds = Math.min(30, 2 ** (number - 1));
  return seconds * (0.8 + 0.4 * Math.random());
}
