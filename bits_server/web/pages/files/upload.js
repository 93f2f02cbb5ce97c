// The upload page: files that are dropped or chosen become rows and tasks of the queue.

import { Announcer, fillTexts, make } from "./dom.js";
import { EarlierList, asFile, keyOf } from "./earlier.js";
import { fingerprint } from "./fingerprint.js";
import { formatPercent } from "./format.js";
import { Memory } from "./memory.js";
import { Problem } from "./problems.js";
import { Queue } from "./queue.js";
import { Tabs } from "./tabs.js";
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
const tabs = new Tabs(facts.user, heldHere, () => earlier.show());
const earlier = new EarlierList(find("earlier"), {
  memory,
  tabs,
  base,
  facts,
  isHere: (id) => queue.tasks.some((task) => task.sessionId === id),
  onChoose: () => find("files").click(),
  onCancel: (name) => {
    find("choose").focus();
    announcer.say(TEXTS.said.cancelled(name));
    tabs.changed();
  },
});
showFacts();
listen();
earlier.show();
await offerReplies();

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
    const entry = item.webkitGetAsEntry?.();
    const isFolder = entry?.isDirectory ?? false;
    return isFolder ? { name: entry.name, size: 0, lastModified: 0, isFolder } : item.getAsFile();
  });
}

async function take(files) {
  const chosen = [...files];
  const elsewhere = await tabs.elsewhere();
  for (const file of chosen) {
    const print = file.isFolder ? "" : await fingerprint(file);
    const same = queue.tasks.find((task) => isSame(task, file) && !isOver(task));
    if (same) {
      rows.get(same).notice();
      announcer.say(TEXTS.isInList(file.name));
      continue;
    }
    const refusal = elsewhere.has(keyOf(file, print)) ? new Problem("otherTab") : refusalOf(file);
    const entry = refusal ? null : memory.find(file, print);
    if (entry) announcer.say(TEXTS.said.resumed(file.name));
    add(new UploadTask(file, { base, memory, facts, print, entry, refusal }));
  }
  earlier.show();
}

/** What the page can say before it sends anything; null where it is to be tried. */
function refusalOf(file) {
  if (file.isFolder) return new Problem("folder");
  if (!file.name.isWellFormed()) return new Problem("badName");
  const limit = facts.maximumUploadSize;
  return limit !== null && file.size > limit ? new Problem("tooLarge") : null;
}

/** Replies of earlier uploads that wait to be saved. */
async function offerReplies() {
  const elsewhere = await tabs.elsewhere();
  for (const entry of memory.entries()) {
    const file = asFile(entry);
    if (!entry.hasReply || elsewhere.has(keyOf(file, entry.print))) continue;
    add(new UploadTask(file, { base, memory, facts, print: entry.print, entry }));
  }
}

/** The files that this tab has in hand. */
function heldHere() {
  return queue.tasks.filter((task) => !isOver(task)).map((task) => keyOf(task.file, task.print));
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
  let saidAt = { cause: "", received: -1 };
  const look = () => {
    showTotals();
    if (task.state === before) return;
    before = task.state;
    tabs.changed();
    const { cause } = task.problem ?? {};
    // Once, and not with each try, until something has gone on.
    if (task.state === "retrying" && cause === saidAt.cause && task.received === saidAt.received) {
      return;
    }
    if (task.problem) saidAt = { cause, received: task.received };
    tell(task);
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
  const all = [...rows.keys()].filter((task) => task.state !== "cancelled");
  const failed = all.filter((task) => task.state === "failed").length;
  const tasks = all.filter((task) => task.state !== "failed");
  const sum = (value) => tasks.reduce((total, task) => total + value(task), 0);
  const position = sum((task) => task.position);
  const total = sum((task) => task.total);
  const done = tasks.filter((task) => task.state === "done").length;
  find("totals").textContent = all.length
    ? TEXTS.totals({ done, count: all.length, failed, position, total })
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
