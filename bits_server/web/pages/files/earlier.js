// The list of uploads that an earlier page has begun, and whose files this one does not have.

import { keepFocus, make } from "./dom.js";
import { formatName } from "./format.js";
import { UploadSession } from "./upload_session.js";
import { TEXTS } from "./upload_texts.js";

const AGAIN_SECONDS = 5;

export class EarlierList {
  #place;
  #options;
  #looks = 0;
  #elsewhere = null;
  #alarm = 0;
  #shown = [];

  /**
   * `place`: the section; `options.isHere`: whether a session id is in hand here; `onChoose`: a file
   * is to be chosen; `onCancel`: told the name of what was given up.
   */
  constructor(place, options) {
    this.#place = place;
    this.#options = options;
  }

  /** Look anew. Another tab may have in hand what is remembered. */
  async show() {
    const look = (this.#looks += 1);
    if (this.#elsewhere) this.#showAllBut(this.#elsewhere);
    const elsewhere = await this.#options.tabs.elsewhere();
    if (look !== this.#looks) return; // a later one knows more
    this.#showAllBut((this.#elsewhere = elsewhere));
    // A tab that breaks down says nothing.
    clearTimeout(this.#alarm);
    if (elsewhere.size) this.#alarm = setTimeout(() => this.show(), AGAIN_SECONDS * 1000);
  }

  #showAllBut(elsewhere) {
    const { memory, isHere } = this.#options;
    const isOpen = (entry) =>
      !entry.hasReply &&
      !isHere(entry.sessionId) &&
      !elsewhere.has(keyOf(asFile(entry), entry.print));
    this.#showOnly(memory.entries().filter(isOpen));
  }

  #showOnly(entries) {
    // Where nothing is new, all stays: somebody may be about to press a button.
    if (JSON.stringify(entries) === JSON.stringify(this.#shown)) return;
    this.#shown = entries;
    const list = this.#place.querySelector("ul");
    keepFocus(this.#place, () => {
      list.replaceChildren(...entries.map((entry) => this.#row(entry)));
      this.#place.hidden = entries.length === 0;
    });
  }

  #row(entry) {
    const name = formatName(entry.name);
    const act = (text, action, className = "") => {
      const button = make("button", { type: "button", textContent: text, className });
      button.setAttribute("aria-label", TEXTS.actionOn(text, name));
      button.addEventListener("click", action);
      return button;
    };
    const progress = make("progress", { "aria-label": TEXTS.progressOf(name) });
    progress.max = entry.size || 1;
    progress.value = entry.received;
    const buttons = [
      act(TEXTS.chooseAgain, this.#options.onChoose),
      act(TEXTS.cancelEarlier, () => this.#cancel(entry), "danger"),
    ];
    return make(
      "li",
      { className: "card upload" },
      make("div", { className: "upload-head" }, make("bdi", { className: "name", textContent: name })),
      progress,
      make(
        "div",
        { className: "upload-foot" },
        make("p", { className: "state", textContent: TEXTS.earlierState(entry) }),
        make("div", { className: "row" }, ...buttons),
      ),
    );
  }

  #cancel(entry) {
    const { memory, base, facts, onCancel } = this.#options;
    const changed = () => {};
    const file = asFile(entry);
    new UploadSession(file, { base, memory, facts, print: entry.print, entry, changed }).giveUp();
    this.#showOnly(this.#shown.filter((each) => each !== entry));
    onCancel(entry.name);
  }
}

/** What is remembered of a file, for what needs nothing else of it. */
export function asFile(entry) {
  return { name: entry.name, size: entry.size, lastModified: entry.modified };
}

/** What a file is known by among all tabs. `print`: its fingerprint. */
export function keyOf(file, print) {
  return JSON.stringify([file.name, file.size, file.lastModified, print]);
}
