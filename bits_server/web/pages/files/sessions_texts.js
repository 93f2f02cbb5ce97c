// All words of the sessions page, in English.

import { formatBytes, formatDuration, formatPercent, formatRate, nameInSentence } from "./format.js";

export const TEXTS = {
  title: "Sessions",
  search: "Search",
  state: "State",
  directory: "Virtual directory",
  order: "Order",
  tableLabel: "Sessions, as a table",
  all: "All",
  dismiss: "Dismiss",
  keep: "Keep it as it is",

  columns: {
    file: "File",
    user: "User",
    address: "Address",
    progress: "Progress",
    rate: "Rate",
    left: "Time left",
    state: "State",
    age: "Age",
    notification: "Notification",
    actions: "Actions",
  },
  orders: (name, isDown) => `${name}, ${isDown ? "descending" : "ascending"}`,
  states: {
    opened: "Opened",
    receiving: "Receiving",
    complete: "Complete",
    unreadable: "Unreadable",
  },
  outcomes: { succeeded: "Succeeded", refused: "Refused for good", failed: "Failed" },
  nothing: "–",
  outcome: (word, told) =>
    told.application_status === null ? word : `${word} (${told.application_status})`,

  totals: (shown, count, received, rate) =>
    [
      shown === count ? `${count} ${count === 1 ? "session" : "sessions"}` : `${shown} of ${count} sessions`,
      `${formatBytes(received)} received`,
      rate > 0 ? formatRate(rate) : "",
    ]
      .filter(Boolean)
      .join(", "),
  none: "There are no sessions: nobody is uploading.",
  noneFound: "No session is like that.",
  more: (count) => `Show ${count} more`,
  anonymous: "anonymous",
  unknown: "unknown",
  received: (done, total) => (total === null ? formatBytes(done) : `${formatBytes(done)} of ${formatBytes(total)}`),
  percent: (done, total) => formatPercent(done, total),
  rate: (bytesPerSecond) => (bytesPerSecond > 0 ? formatRate(bytesPerSecond) : TEXTS.nothing),
  left: (seconds) => (seconds === null ? TEXTS.nothing : formatDuration(seconds)),
  age: (seconds) => formatDuration(seconds),
  idle: (seconds, left) =>
    left > 0
      ? `idle ${formatDuration(seconds)}, removed in ${formatDuration(left)}`
      : `idle ${formatDuration(seconds)}, removed at the next clean-up`,
  progressOf: (file) => `Progress of ${file}`,

  lost: "The server does not answer. What you see is as it was; it goes on by itself.",
  refused: "You are not signed in as an administrator any more. Load this page again.",

  actions: {
    extend: {
      name: "Extend",
      word: "Extend",
      title: "Let the time without progress begin anew?",
      text: (file) => `${nameInSentence(file)} is kept as if a byte had just come, for another whole session_timeout.`,
      yes: "Extend",
    },
    notify: {
      name: "Notify again",
      word: "Notify",
      title: "Tell the server application again?",
      text: (file) => `The application is told of ${nameInSentence(file)} once more, also where it has succeeded before.`,
      yes: "Notify again",
    },
    cancel: {
      name: "Cancel",
      word: "Cancel",
      title: "Cancel this upload?",
      text: (file) => `All that has come of ${nameInSentence(file)} is removed. A client that is still there begins again.`,
      yes: "Cancel the upload",
    },
  },
  actionOn: (action, file) => `${action}: ${file}`,
  done: {
    extend: (file) => `${nameInSentence(file)} is kept for another session_timeout.`,
    notify: (file, told) =>
      `The application was told of ${nameInSentence(file)}: ${TEXTS.outcome(TEXTS.outcomes[told.outcome], told)}.`,
    cancel: (file) => `${nameInSentence(file)} is cancelled.`,
  },
  failed: (file, problem) => `Nothing was done to ${nameInSentence(file)}: ${problem}`,
  gone: "the session is not there any more.",
};
