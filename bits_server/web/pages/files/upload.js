// The upload page: files that are dropped or chosen become rows and tasks of the queue.

import { Announcer, fillTexts, make } from "./dom.js";
import { fingerprint } from "./fingerprint.js";
import { formatPercent } from "./format.js";
import { Memory } from "./memory.js";
import { Packets } from "./packets.js";
import { Queue } from "./queue.js";
import { UploadRow, problemText } from "./upload_row.js";
import { ENDED, RUNNING, UploadTask } from "./upload_task.js";
import { TEXTS } from "./upload_texts.js";

const base = new URL(".", location.href);
const queue = new Queue();
const rows = new Map();
const find = (id) => document.getElementById(id);

fillTexts(TEXTS);
const announcer = new Announcer(find("said"));
const facts = await loadFacts();
const memory = new Memory(facts.user);
showFacts();
showEarlier();
for (const entry of memory.entries().filter((each) => each.hasReply)) {
  add(new UploadTask(entryAsFile(entry), { base, memory, facts, print: entry.print, entry }));
}
listen();

async function loadFacts() {
  try {
    const response = await fetch(new URL("BITS-Sessions/.page/facts.json", base));
    if (response.ok) return await response.json();
  } catch {
    // The server says so itself when something is too large.
  }
  return { user: "", maximumUploadSize: null };
}

function showFacts() {
  const limit = facts.maximumUploadSize;
  const known = [
    facts.user ? TEXTS.signedIn(facts.user) : "",
    limit === null ? "" : TEXTS.limit(limit),
  ];
  find("facts").textContent = known.filter(Boolean).join(" ");
}

function listen() {
  const input = find("files");
  find("choose").addEventListener("click", () => input.click());
  find("choose").disabled = false; // before, nobody would have heard it
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
  const isOfFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (isOver) => {
    find("drop").classList.toggle("is-over", isOver);
    find("drop-words").textContent = isOver ? TEXTS.dropNow : TEXTS.drop;
  };
  // The whole page takes them: a file that misses the field would be opened by the browser.
  document.addEventListener("dragover", (event) => {
    if (!isOfFiles(event)) return;
    event.preventDefault();
    show(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) show(false);
  });
  document.addEventListener("drop", (event) => {
    if (!isOfFiles(event)) return;
    event.preventDefault();
    show(false);
    take(filesOf(event.dataTransfer));
  });
  addEventListener("online", () => queue.tasks.forEach((task) => task.retryNow()));
  addEventListener("beforeunload", (event) => {
    if (queue.tasks.some((task) => RUNNING.has(task.state) || task.state === "waiting")) {
      event.preventDefault();
    }
  });
  setInterval(() => {
    for (const [task, row] of rows) if (task.state === "retrying") row.changed();
  }, 1000);
}

/** What was dropped; a folder comes as what has its name, and cannot be read. */
function filesOf(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  return items.map((item) => {
    const isFolder = item.webkitGetAsEntry?.()?.isDirectory ?? false;
    const file = item.getAsFile();
    return isFolder ? { name: file.name, size: 0, lastModified: 0, isFolder } : file;
  });
}

async function take(files) {
  for (const file of [...files]) {
    const print = file.isFolder ? "" : await fingerprint(file);
    if (queue.tasks.some((task) => isSame(task, file) && !isOver(task))) {
      announcer.say(TEXTS.isInList(file.name));
      continue;
    }
    const entry = memory.find(file, print);
    if (entry) announcer.say(TEXTS.said.resumed(file.name));
    add(new UploadTask(file, { base, memory, facts, print, entry }));
  }
  showEarlier();
}

function isSame(task, file) {
  return (
    task.name === file.name &&
    task.total === file.size &&
    task.file.lastModified === file.lastModified
  );
}

function isOver(task) {
  return ENDED.has(task.state) || (task.state === "failed" && !task.canRetry);
}

function add(task) {
  const row = new UploadRow(task, { onRemove: remove, onSaveReply: saveReply });
  rows.set(task, row);
  find("upload-list").append(row.element);
  find("uploads").hidden = false;
  let before = "";
  const look = () => {
    if (task.state !== before) tell(task);
    before = task.state;
    showTotals();
  };
  task.addEventListener("change", look);
  look();
  queue.add(task);
}

function tell(task) {
  const text = TEXTS.said[task.state];
  if (text) announcer.say(text(task.name, task.problem ? problemText(task.problem) : ""));
}

function remove(task) {
  const row = rows.get(task);
  const neighbours = [...rows.keys()];
  const next = neighbours[neighbours.indexOf(task) + 1] ?? neighbours[neighbours.indexOf(task) - 1];
  queue.remove(task);
  rows.delete(task);
  row.element.remove();
  find("uploads").hidden = rows.size === 0;
  showTotals();
  if (next) rows.get(next).focus();
  else find("choose").focus();
}

function showTotals() {
  const tasks = [...rows.keys()].filter((task) => task.state !== "cancelled");
  const sum = (value) => tasks.reduce((total, task) => total + value(task), 0);
  const position = sum((task) => task.position);
  const total = sum((task) => task.total);
  const done = tasks.filter((task) => task.state === "done").length;
  find("totals").textContent = tasks.length
    ? TEXTS.totals(done, tasks.length, position, total)
    : "";
  const isBusy = tasks.some((task) => RUNNING.has(task.state));
  document.title = TEXTS.pageTitle(isBusy ? formatPercent(position, total) : null);
}

async function saveReply(task, row) {
  try {
    const url = URL.createObjectURL(await task.fetchReply());
    make("a", { href: url, download: TEXTS.replyName(task.name) }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    task.finish();
  } catch (problem) {
    row.complain(problem);
    announcer.say(problemText(problem));
  }
}

/** Those of which something has arrived, and whose file is not here. */
function showEarlier() {
  const isHere = new Set(queue.tasks.map((task) => task.sessionId));
  const entries = memory.entries().filter((each) => !isHere.has(each.sessionId) && !each.hasReply);
  find("earlier-list").replaceChildren(...entries.map(earlierRow));
  find("earlier").hidden = entries.length === 0;
}

function earlierRow(entry) {
  const act = (text, action) => {
    const button = make("button", { type: "button", textContent: text });
    button.setAttribute("aria-label", TEXTS.actionOn(text, entry.name));
    button.addEventListener("click", action);
    return button;
  };
  const progress = make("progress", { "aria-label": TEXTS.progressOf(entry.name) });
  progress.max = entry.size || 1;
  progress.value = entry.received;
  const cancel = act(TEXTS.cancelEarlier, () => cancelEarlier(entry));
  cancel.className = "danger";
  return make(
    "li",
    { className: "card upload" },
    make("div", { className: "upload-head" }, make("bdi", { className: "name", textContent: entry.name })),
    progress,
    make(
      "div",
      { className: "upload-foot" },
      make("p", { className: "state", textContent: TEXTS.earlierState(entry) }),
      make("div", { className: "row" }, act(TEXTS.chooseAgain, () => find("files").click()), cancel),
    ),
  );
}

async function cancelEarlier(entry) {
  memory.forget(entry.sessionId);
  showEarlier();
  find("choose").focus();
  announcer.say(TEXTS.said.cancelled(entry.name));
  try {
    await new Packets(new URL(encodeURIComponent(entry.name), base)).cancel(entry.sessionId);
  } catch {
    // The server removes it by itself after a while.
  }
}

/** Of an upload that waits for its reply to be saved nothing is to be read any more. */
function entryAsFile(entry) {
  return { name: entry.name, size: entry.size, lastModified: entry.modified };
}
