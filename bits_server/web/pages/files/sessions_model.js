// What is known of the sessions, and what follows from two looks at one: rate and time left.

const RATE_WEIGHT = 0.4; // of the newest look, in the average
const STILL_SECONDS = 10; // without a byte more: it has no rate

export class Sessions {
  #known = new Map();
  now = 0;

  get size() {
    return this.#known.size;
  }

  /** An answer of the server. Returns whether all must be asked for. */
  take(answer) {
    const earlier = this.#known;
    if (answer.whole) this.#known = new Map();
    for (const facts of answer.sessions) {
      const key = keyOf(facts.virtual_directory, facts.session_id);
      this.#known.set(key, next(earlier.get(key), facts, key, answer.now));
    }
    for (const [url, id] of answer.removed) this.#known.delete(keyOf(url, id));
    this.now = answer.now;
    for (const each of this.#known.values()) settle(each, this.now);
    return this.#known.size !== answer.count;
  }

  get(key) {
    return this.#known.get(key);
  }

  directories() {
    return [...new Set([...this.#known.values()].map((each) => each.facts.virtual_directory))].sort();
  }

  /** Those that are wanted, in order. */
  select({ text, state, directory, column, isDown }) {
    const wanted = text.trim().toLowerCase();
    const found = [...this.#known.values()].filter(
      (each) =>
        (!state || each.facts.state === state) &&
        (!directory || each.facts.virtual_directory === directory) &&
        (!wanted || each.words.includes(wanted) || each.id.startsWith(wanted.replace("{", ""))),
    );
    const value = VALUES[column];
    const sign = isDown ? -1 : 1;
    // What is not known comes last, whatever the order; equals stay in the order of their ids.
    return found.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === y) return a.key < b.key ? -1 : 1;
      if (x === null || y === null) return x === null ? 1 : -1;
      return (x < y ? -1 : 1) * sign;
    });
  }

  /** Of some sessions: bytes there, and bytes per second. */
  static totals(sessions) {
    let received = 0;
    let rate = 0;
    for (const each of sessions) {
      received += each.facts.received_bytes;
      rate += each.rate;
    }
    return { received, rate };
  }
}

const STATES = ["unreadable", "opened", "receiving", "complete"];

export const VALUES = {
  file: ({ facts }) => facts.destination,
  user: ({ facts }) => facts.user,
  address: ({ facts }) => facts.client_address,
  progress: ({ facts }) => facts.percent,
  rate: (each) => each.rate,
  left: (each) => each.left,
  state: ({ facts }) => STATES.indexOf(facts.state),
  age: (each) => (each.created === null ? null : -each.created),
  notification: ({ facts }) => facts.notification?.outcome ?? null,
};

const keyOf = (url, id) => `${url} ${id}`;

function next(before, facts, key, now) {
  const words = [facts.destination, facts.user, facts.client_address];
  const made = {
    key,
    facts,
    words: words.filter(Boolean).join("\n").toLowerCase(),
    id: facts.session_id.slice(1).toLowerCase(), // looked for from its beginning: any two digits are in some id
    created: facts.created && seconds(facts.created),
    progressed: seconds(facts.last_progress),
    expires: seconds(facts.expires),
    looked: now,
    grew: before?.grew ?? now,
    rate: 0,
    left: null,
  };
  if (before) {
    const grown = facts.received_bytes - before.facts.received_bytes;
    const took = now - before.looked;
    // The same look told twice says nothing of the rate.
    if (took < 0.5 || grown < 0) made.rate = before.rate;
    else made.rate = before.rate + RATE_WEIGHT * (grown / took - before.rate);
    if (before.rate === 0 && grown > 0 && took >= 0.5) made.rate = grown / took;
    if (took < 0.5) made.looked = before.looked;
    if (grown > 0) made.grew = now;
  }
  return made;
}

/** What passes by itself: a client that sends nothing has no rate. */
function settle(session, now) {
  const { facts } = session;
  if (now - session.grew > STILL_SECONDS || facts.state === "complete") session.rate = 0;
  const rest = facts.total_bytes === null ? null : facts.total_bytes - facts.received_bytes;
  session.left = session.rate > 0 && rest !== null && rest > 0 ? rest / session.rate : null;
}

const seconds = (text) => Date.parse(text) / 1000;
