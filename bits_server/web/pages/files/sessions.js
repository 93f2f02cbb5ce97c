// The sessions page: asks for changes, shows the rows that are wanted, and carries out actions.

import { Announcer, fillTexts, make, say } from "./dom.js";
import { Sessions, VALUES } from "./sessions_model.js";
import { COLUMNS, SessionRow } from "./sessions_row.js";
import { TEXTS } from "./sessions_texts.js";

const ASK_SECONDS = 2;
const PATIENCE_SECONDS = 15;
const TOAST_SECONDS = 8;
const ROWS_AT_ONCE = 100;
const REFUSALS = new Set([401, 403]);
const PAGE = location.pathname.replace(/\/+$/, "");
const find = (id) => document.getElementById(id);

const sessions = new Sessions();
const rows = new Map();
const view = { text: "", state: "", directory: "", column: "age", isDown: true, rows: ROWS_AT_ONCE };
let since = null;
let timer = 0;
let toastTimer = 0;
let isAsking = false;

fillTexts(TEXTS);
const announcer = new Announcer(find("said"));
makeHeads();
makeFilters();
listen();
ask();

async function ask() {
  clearTimeout(timer);
  if (isAsking) return;
  isAsking = true;
  let isRefused = false;
  try {
    const query = since === null ? "" : `?since=${since}`;
    const signal = AbortSignal.timeout(PATIENCE_SECONDS * 1000);
    const response = await fetch(`${PAGE}/list${query}`, { cache: "no-store", signal });
    isRefused = REFUSALS.has(response.status);
    if (response.ok) {
      const answer = await response.json();
      const isOff = sessions.take(answer);
      since = isOff && !answer.whole ? null : answer.now;
      complain("");
      show();
    } else complain(isRefused ? TEXTS.refused : TEXTS.lost);
  } catch {
    complain(TEXTS.lost);
  } finally {
    isAsking = false;
    clearTimeout(timer);
    // With each request that is refused the browser may ask for a password.
    if (!document.hidden && !isRefused) timer = setTimeout(ask, ASK_SECONDS * 1000);
  }
}

function complain(text) {
  say(find("lost"), text);
  find("lost").hidden = !text;
}

function show() {
  showDirectories();
  const found = sessions.select(view);
  const shown = found.slice(0, view.rows);
  const body = find("rows");
  const keys = new Set(shown.map((each) => each.key));
  for (const [key, row] of rows) {
    if (keys.has(key)) continue;
    if (row.element.contains(document.activeElement)) find("table-place").focus();
    row.element.remove();
    rows.delete(key);
  }
  let place = body.firstElementChild;
  for (const session of shown) {
    let row = rows.get(session.key);
    if (!row) rows.set(session.key, (row = new SessionRow(session, confirmAction)));
    row.update(session, sessions.now);
    if (row.element === place) place = place.nextElementSibling;
    // A row that has the focus stays where it is: moving it would take the focus away.
    else if (!row.element.contains(document.activeElement)) body.insertBefore(row.element, place);
  }
  const { received, rate } = Sessions.totals(found);
  say(find("totals"), TEXTS.totals(found.length, sessions.size, received, rate));
  document.title = `${TEXTS.title} (${sessions.size})`;
  const empty = find("empty");
  empty.hidden = found.length > 0;
  say(empty, sessions.size ? TEXTS.noneFound : TEXTS.none);
  find("table-place").hidden = found.length === 0;
  const more = find("more");
  more.hidden = found.length <= view.rows;
  say(more, TEXTS.more(Math.min(ROWS_AT_ONCE, found.length - view.rows)));
}

function makeHeads() {
  for (const column of COLUMNS) {
    const head = make("th", { scope: "col", role: "columnheader" });
    head.dataset.column = column;
    if (column in VALUES) {
      const button = make("button", { type: "button", textContent: TEXTS.columns[column] });
      button.addEventListener("click", () => sortBy(column, view.column === column && !view.isDown));
      head.append(button);
      for (const isDown of [true, false]) {
        const text = TEXTS.orders(TEXTS.columns[column], isDown);
        find("order").append(make("option", { value: `${column} ${isDown}`, textContent: text }));
      }
    } else head.append(make("span", { textContent: TEXTS.columns[column] }));
    find("heads").append(head);
  }
  sortBy(view.column, view.isDown);
}

function sortBy(column, isDown) {
  view.column = column;
  view.isDown = isDown;
  for (const head of find("heads").children) {
    if (head.dataset.column !== column) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
  }
  find("order").value = `${column} ${isDown}`;
  if (since !== null) show();
}

function makeFilters() {
  const states = find("state");
  states.append(make("option", { value: "", textContent: TEXTS.all }));
  for (const [value, textContent] of Object.entries(TEXTS.states)) {
    states.append(make("option", { value, textContent }));
  }
}

function showDirectories() {
  const place = find("directory");
  const urls = sessions.directories();
  if (view.directory && !urls.includes(view.directory)) urls.push(view.directory);
  const wanted = ["", ...urls];
  const there = [...place.options].map((each) => each.value);
  if (there.join("\n") === wanted.join("\n") && there.length) return;
  place.replaceChildren(
    ...wanted.map((value) => make("option", { value, textContent: value || TEXTS.all })),
  );
  place.value = view.directory;
}

function listen() {
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  const filter = (name) => (event) => {
    view[name] = event.target.value;
    view.rows = ROWS_AT_ONCE;
    show();
  };
  find("search").addEventListener("input", filter("text"));
  find("state").addEventListener("change", filter("state"));
  find("directory").addEventListener("change", filter("directory"));
  find("order").addEventListener("change", (event) => {
    const [column, isDown] = event.target.value.split(" ");
    sortBy(column, isDown === "true");
  });
  find("toast-close").addEventListener("click", () => {
    find("toast").hidden = true;
    find("table-place").focus();
  });
  find("more").addEventListener("click", () => {
    view.rows += ROWS_AT_ONCE;
    show();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else ask();
  });
}

function confirmAction(action, key, button) {
  const session = sessions.get(key);
  if (!session) return;
  const file = session.facts.destination ?? session.facts.session_id;
  const texts = TEXTS.actions[action];
  const dialog = find("question");
  find("question-title").textContent = texts.title;
  find("question-text").textContent = texts.text(file);
  const yes = find("question-yes");
  yes.textContent = texts.yes;
  yes.className = action === "cancel" ? "danger" : "main";
  find("question-no").onclick = () => dialog.close();
  yes.onclick = () => {
    dialog.close();
    carryOut(action, session);
  };
  dialog.onclose = () => (button.isConnected ? button : find("table-place")).focus();
  dialog.showModal();
}

async function carryOut(action, { facts }) {
  const { virtual_directory, session_id, destination } = facts;
  const file = destination ?? session_id;
  let problem = "";
  let done = "";
  try {
    const response = await fetch(`${PAGE}/act`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Bits-Sessions": "1" },
      body: JSON.stringify({ virtual_directory, session_id, action }),
    });
    if (response.ok) done = TEXTS.done[action](file, (await response.json()).notification);
    else if (REFUSALS.has(response.status)) problem = TEXTS.refused;
    else if (response.status === 404) problem = TEXTS.gone;
    else problem = (await response.json()).problem;
  } catch {
    problem = TEXTS.lost;
  }
  tell(done || TEXTS.failed(file, problem), !problem);
  ask();
}

/** To ears and eyes; what went wrong stays until somebody has seen it. */
function tell(text, isBrief) {
  announcer.say(text);
  clearTimeout(toastTimer);
  const toast = find("toast");
  say(find("toast-text"), text);
  toast.hidden = false;
  const hide = () => {
    if (!toast.contains(document.activeElement)) toast.hidden = true;
  };
  if (isBrief) toastTimer = setTimeout(hide, TOAST_SECONDS * 1000);
}
