// What other tabs of this page have in hand, so that no two send the same upload.

const ANSWER_MILLISECONDS = 250; // they are all in this browser

export class Tabs {
  #channel;
  #asked = new Map();

  /** `held`: gives the keys of the files in hand here; `onChange`: it has changed in another tab. */
  constructor(user, held, onChange) {
    // Not navigator.locks, which is there over TLS only.
    this.#channel = new BroadcastChannel(`bits-upload ${location.pathname} ${user}`);
    const hear = ({ data }) => {
      if (data.ask) this.#channel.postMessage({ answer: data.ask, held: [...held()] });
      else if (data.answer) this.#asked.get(data.answer)?.push(...data.held);
      else onChange();
    };
    addEventListener("pageshow", () => (this.#channel.onmessage = hear));
    addEventListener("pagehide", () => {
      this.#channel.onmessage = null; // what is leaving holds nothing
      this.changed();
    });
    this.#channel.onmessage = hear;
  }

  /** What is in hand here has changed. */
  changed() {
    this.#channel.postMessage({});
  }

  /** The keys of what all others have in hand. */
  async elsewhere() {
    const question = Math.random();
    const found = [];
    this.#asked.set(question, found);
    this.#channel.postMessage({ ask: question });
    await new Promise((resolve) => setTimeout(resolve, ANSWER_MILLISECONDS));
    this.#asked.delete(question);
    return new Set(found);
  }
}
