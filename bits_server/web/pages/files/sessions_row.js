// One row of the table: its cells are made once, and changed where the session has.

import { make, say } from "./dom.js";
import { formatName } from "./format.js";
import { TEXTS } from "./sessions_texts.js";

export const COLUMNS = Object.keys(TEXTS.columns);
const IDLE_SECONDS = 60;

export class SessionRow {
  #cells = {};
  #texts = {};
  #details = {};
  #bar = make("progress", { max: 1 });
  #percent = make("span", { className: "percent" });
  #buttons = {};

  /** `act`: called with the name of an action, the key of the session, and the button. */
  constructor(session, act) {
    this.key = session.key;
    // The roles by name too: as cards these elements are no table to the browser.
    this.element = make("tr", { role: "row" });
    for (const column of COLUMNS) {
      const isHead = column === "file";
      const cell = make(isHead ? "th" : "td", { role: isHead ? "rowheader" : "cell" });
      if (isHead) cell.scope = "row";
      cell.dataset.column = column;
      cell.setAttribute("data-head", TEXTS.columns[column]);
      this.#cells[column] = cell;
      this.element.append(cell);
      if (column === "actions") continue;
      this.#texts[column] = make("bdi", { className: "text" });
      this.#details[column] = make("span", { className: "detail faint" });
      cell.append(this.#texts[column], this.#details[column]);
    }
    this.#cells.progress.prepend(make("div", { className: "bar" }, this.#bar, this.#percent));
    this.#cells.actions.append(this.#makeButtons(act));
  }

  update(session, now) {
    const { facts } = session;
    const isUnreadable = facts.state === "unreadable";
    const file = formatName(facts.destination ?? facts.session_id);
    if (this.#texts.file.textContent !== file) this.#name(file, facts);
    const nobody = isUnreadable ? TEXTS.unknown : TEXTS.anonymous;
    this.#show("user", facts.user === null ? nobody : formatName(facts.user));
    this.#show("address", facts.client_address ?? TEXTS.unknown);
    this.#showProgress(facts);
    this.#show("rate", TEXTS.rate(session.rate));
    this.#show("left", TEXTS.left(session.left));
    this.#show("state", TEXTS.states[facts.state], this.#stateDetail(session, now));
    this.#show("age", session.created === null ? TEXTS.unknown : TEXTS.age(now - session.created));
    this.#showNotification(facts.notification);
    this.#buttons.notify.hidden = facts.notification_type === "none" || facts.state !== "complete";
    // Nothing can be done with it, and the clean-up removes it.
    this.#buttons.extend.hidden = this.#buttons.cancel.hidden = isUnreadable;
  }

  /** What is told of the session by its name, which stays. */
  #name(file, facts) {
    this.#show("file", file, formatName(facts.virtual_directory));
    this.#cells.file.title = `${file}\n${facts.session_id}`;
    this.#bar.setAttribute("aria-label", TEXTS.progressOf(file));
    for (const [action, button] of Object.entries(this.#buttons)) {
      button.setAttribute("aria-label", TEXTS.actionOn(TEXTS.actions[action].name, file));
    }
  }

  #makeButtons(act) {
    const buttons = make("div", { className: "row" });
    for (const [action, { word }] of Object.entries(TEXTS.actions)) {
      const button = make("button", { type: "button", textContent: word, className: "small" });
      if (action === "cancel") button.classList.add("danger");
      button.addEventListener("click", () => act(action, this.key, button));
      this.#buttons[action] = button;
      buttons.append(button);
    }
    return buttons;
  }

  #showProgress({ received_bytes: received, total_bytes: total }) {
    this.#bar.parentElement.hidden = total === null;
    this.#bar.value = total ? received / total : 1;
    say(this.#percent, total === null ? "" : TEXTS.percent(received, total));
    this.#show("progress", "", TEXTS.received(received, total));
  }

  /** Why it is as it is, and when it will be removed if nothing comes. */
  #stateDetail({ facts, progressed, expires }, now) {
    if (facts.problem) return formatName(facts.problem);
    const idle = now - progressed;
    return idle > IDLE_SECONDS ? TEXTS.idle(idle, expires - now) : "";
  }

  #showNotification(told) {
    const isBad = told !== null && told.outcome !== "succeeded";
    const text = told ? TEXTS.outcome(TEXTS.outcomes[told.outcome], told) : TEXTS.nothing;
    // Where the application has answered, its status says it.
    const reason = isBad && told.application_status === null ? told.error : "";
    this.#show("notification", text, formatName(reason ?? ""));
    this.#texts.notification.classList.toggle("bad", isBad);
  }

  #show(column, text, detail = "") {
    const details = this.#details[column];
    if (details.textContent !== detail) details.textContent = details.title = detail;
    if (this.#texts[column].textContent === text) return;
    this.#texts[column].textContent = text;
    this.#cells[column].toggleAttribute("data-empty", text === TEXTS.nothing);
  }
}
