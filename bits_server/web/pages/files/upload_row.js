// One upload as a row of the list: what it does, and the buttons that it has now.

import { keepFocus, make, say } from "./dom.js";
import { formatBytes, formatName } from "./format.js";
import { ENDED } from "./upload_task.js";
import { PROBLEMS, TEXTS } from "./upload_texts.js";

const CANCELLABLE = new Set(["waiting", "sending", "retrying", "paused"]);
const NOTICE_SECONDS = 3;

/** What a task complains of, in words. */
export function problemText(problem) {
  return TEXTS.problemWithCode(PROBLEMS[problem.cause] ?? PROBLEMS.failed, problem.code);
}

export class UploadRow {
  #task;
  #buttons;
  #frame = 0;
  #complaint = null;

  constructor(task, { onRemove, onSaveReply }) {
    this.#task = task;
    const name = formatName(task.name);
    const act = (text, action, kind = "") => {
      const button = make("button", { type: "button", textContent: text, className: kind });
      button.setAttribute("aria-label", TEXTS.actionOn(text, name));
      button.addEventListener("click", action);
      return button;
    };
    this.#buttons = {
      retryNow: act(TEXTS.retryNow, () => task.retryNow()),
      pause: act(TEXTS.pause, () => task.pause()),
      resume: act(TEXTS.resume, () => task.resume()),
      tryAgain: act(TEXTS.tryAgain, () => task.resume()),
      saveReply: act(TEXTS.saveReply, () => onSaveReply(task, this), "main"),
      withoutReply: act(TEXTS.withoutReply, () => task.finish()),
      cancel: act(TEXTS.cancel, () => task.cancel(), "danger"),
      remove: act(TEXTS.remove, () => onRemove(task)),
    };
    this.state = make("p", { className: "state" });
    this.problem = make("p", { className: "problem", hidden: true });
    this.reply = make("a", {
      textContent: TEXTS.openReply,
      className: "button",
      hidden: true,
      rel: "noopener noreferrer",
      target: "_blank",
    });
    this.progress = make("progress", { "aria-label": TEXTS.progressOf(name) });
    this.element = make(
      "li",
      { className: "card upload", tabIndex: -1 },
      make(
        "div",
        { className: "upload-head" },
        make("bdi", { className: "name", textContent: name }),
        make("span", { className: "faint size", textContent: formatBytes(task.total) }),
      ),
      this.progress,
      make(
        "div",
        { className: "upload-foot" },
        this.state,
        make("div", { className: "row" }, this.reply, ...Object.values(this.#buttons)),
      ),
      this.problem,
    );
    task.addEventListener("change", () => this.changed());
    this.#show();
  }

  /** Show it anew with the next picture; however often something changes. */
  changed() {
    if (!this.#frame) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#show();
      });
    }
  }

  /** Say what could not be done without an end of the upload. */
  complain(problem) {
    this.#complaint = problem;
    this.changed();
  }

  /** Show which one it is. */
  notice() {
    this.element.scrollIntoView({ block: "nearest" });
    this.element.classList.add("is-noticed");
    setTimeout(() => this.element.classList.remove("is-noticed"), NOTICE_SECONDS * 1000);
  }

  focus() {
    Object.values(this.#buttons)
      .find((each) => !each.hidden)
      ?.focus();
  }

  #show() {
    const task = this.#task;
    this.element.dataset.state = task.state;
    this.progress.max = task.total || 1;
    this.progress.value = task.state === "done" ? this.progress.max : task.position;
    say(this.state, TEXTS.states[task.state](task));
    if (task.state !== "reply") this.#complaint = null;
    const problem = task.problem ?? this.#complaint;
    this.problem.hidden = problem === null;
    say(this.problem, problem ? problemText(problem) : "");
    if (task.state === "done" && task.foreignReply) this.reply.href = task.foreignReply;
    this.reply.hidden = !this.reply.href;
    const isFailed = task.state === "failed";
    const shown = {
      retryNow: task.state === "retrying",
      pause: task.canPause,
      resume: task.state === "paused",
      tryAgain: task.canRetry,
      saveReply: task.state === "reply",
      withoutReply: task.state === "reply",
      cancel: CANCELLABLE.has(task.state) || (isFailed && task.sessionId !== null),
      remove: ENDED.has(task.state) || (isFailed && task.sessionId === null),
    };
    keepFocus(this.element, () => {
      for (const [name, button] of Object.entries(this.#buttons)) button.hidden = !shown[name];
    });
  }
}
