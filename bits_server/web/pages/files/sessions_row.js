// One row of the table: its cells are made once, and changed where the session has.

import { make } from "./dom.js";
import { TEXTS } from "./sessions_texts.js";

export const COLUMNS = Object.keys(TEXTS.columns);
const IDLE_SECONDS = 60;

export class SessionRow {
  #cells = {};
  #bar;
  #said;
  #buttons = {};

  constructor(session, act) {
    this.key = session.key;
    this.element = make("tr");
    for (const column of COLUMNS) {
      const cell = column === "file" ? make("th", { scope: "row" }) : make("td");
      cell.dataset.column = column;
      cell.setAttribute("data-head", TEXTS.columns[column]);
      this.#cells[column] = cell;
      this.element.append(cell);
    }
    this.#bar = make("progress", { max: 1 });
    this.#said = make("span", { className: "faint figures" });
    this.#cells.progress.append(this.#bar, this.#said);
    const buttons = make("div", { className: "row" });
    for (const [action, { name }] of Object.entries(TEXTS.actions)) {
      const button = make("button", { type: "button", textContent: name, className: "small" });
      if (action === "cancel") button.classList.add("danger");
      button.addEventListener("click", () => act(action, this.key, button));
      this.#buttons[action] = button;
      buttons.append(button);
    }
    this.#cells.actions.append(buttons);
  }

  update(session, now) {
    const { facts } = session;
    const file = facts.destination ?? facts.session_id;
    this.#text("file", file);
    this.#cells.file.title = `${facts.virtual_directory} ${facts.session_id}`;
    this.#text("user", facts.user ?? TEXTS.anonymous);
    this.#text("address", facts.client_address ?? TEXTS.unknown);
    this.#progress(facts, file);
    this.#text("rate", TEXTS.rate(session.rate));
    this.#text("left", TEXTS.left(session.left));
    const idle = now - session.progressed;
    const state = TEXTS.states[facts.state];
    const isIdle = facts.state !== "complete" && idle > IDLE_SECONDS;
    this.#text("state", isIdle ? `${state}, ${TEXTS.idle(idle)}` : state);
    this.#text("age", session.created === null ? TEXTS.unknown : TEXTS.age(now - session.created));
    const told = facts.notification;
    const outcome = told ? TEXTS.outcome(TEXTS.outcomes[told.outcome], told) : TEXTS.noNotification;
    this.#text("notification", outcome);
    this.#cells.notification.className = told && told.outcome !== "succeeded" ? "bad" : "";
    this.#buttons.notify.hidden = facts.notification_type === "none" || facts.state !== "complete";
    for (const [action, button] of Object.entries(this.#buttons)) {
      button.setAttribute("aria-label", TEXTS.actionOn(TEXTS.actions[action].name, file));
    }
  }

  #progress(facts, file) {
    const total = facts.total_bytes;
    this.#bar.hidden = total === null;
    this.#bar.value = total ? facts.received_bytes / total : 1;
    this.#bar.setAttribute("aria-label", TEXTS.progressOf(file));
    const percent = total === null ? "" : `${TEXTS.percent(facts.received_bytes, total)}, `;
    const said = percent + TEXTS.received(facts.received_bytes, total);
    if (this.#said.textContent !== said) this.#said.textContent = said;
  }

  #text(column, text) {
    const cell = this.#cells[column];
    if (cell.textContent !== text) cell.textContent = text;
  }
}
