// All words of the upload page, in English.

import { formatBytes, formatDuration, formatName, formatPercent, formatRate } from "./format.js";

export const TEXTS = {
  title: "Upload files",
  lead: "Large files and bad lines are no trouble: an upload goes on where it stopped.",
  drop: "Drop files here, or",
  dropNow: "Drop them",
  choose: "Choose files",
  earlierTitle: "Not finished yet",
  earlierLead: "Choose the same file again, and its upload goes on where it stopped.",
  uploadsTitle: "Uploads",

  signedIn: (user) => `You are signed in as ${user}.`,
  limit: (bytes) => `A file may have up to ${formatBytes(bytes)}.`,
  pageTitle: (percent) => (percent === null ? "Upload" : `${percent} – Upload`),
  totals: ({ done, count, failed, position, total }) =>
    [
      `${done} of ${count} finished`,
      failed ? `${failed} not uploaded` : "",
      `${formatBytes(position)} of ${formatBytes(total)}`,
    ]
      .filter(Boolean)
      .join(", "),

  progressOf: (name) => `Progress of ${name}`,
  actionOn: (action, name) => `${action} ${name}`,
  pause: "Pause",
  resume: "Resume",
  retryNow: "Try now",
  tryAgain: "Try again",
  cancel: "Cancel",
  remove: "Remove",
  saveReply: "Save reply",
  withoutReply: "Finish without reply",
  openReply: "Open the reply",
  replyName: (name) => `Reply to ${name}`,
  chooseAgain: "Choose file",
  cancelEarlier: "Cancel",

  states: {
    waiting: () => "Waiting for its turn",
    sending: (task) => {
      const parts = [formatPercent(task.position, task.total)];
      if (task.bytesPerSecond) parts.push(formatRate(task.bytesPerSecond));
      if (task.position >= task.total) parts.push("the server looks at it");
      else if (task.secondsLeft !== null) parts.push(`${formatDuration(task.secondsLeft)} left`);
      return parts.join(" · ");
    },
    retrying: (task) => {
      const seconds = Math.max(0, (task.retryAt - Date.now()) / 1000);
      return `${formatPercent(task.received, task.total)} · trying again in ${formatDuration(seconds)}`;
    },
    finishing: () => "Finishing",
    paused: (task) => `${formatPercent(task.received, task.total)} · paused`,
    reply: () => "Uploaded. A reply waits for you: save it to finish.",
    failed: (task) =>
      task.received ? `Stopped at ${formatPercent(task.received, task.total)}` : "Not uploaded",
    cancelling: () => "Cancelling",
    cancelled: () => "Cancelled",
    done: () => "Uploaded",
  },
  earlierState: (entry) =>
    `${formatPercent(entry.received, entry.size)} of ${formatBytes(entry.size)} arrived`,

  // What is said to those who listen to the page.
  said: {
    paused: (name) => `${formatName(name)}: paused.`,
    resumed: (name) => `${formatName(name)}: goes on where it stopped.`,
    retrying: (name, problem) => `${formatName(name)}: ${problem}`,
    reply: (name) => `${formatName(name)}: uploaded. A reply waits to be saved.`,
    failed: (name, problem) => `${formatName(name)}: not uploaded. ${problem}`,
    cancelled: (name) => `${formatName(name)}: cancelled.`,
    done: (name) => `${formatName(name)}: uploaded.`,
  },
  isInList: (name) => `${formatName(name)} is in the list already.`,
  problemWithCode: (text, code) => (code ? `${text} (${code})` : text),
};

// What went wrong, and what to do about it.
export const PROBLEMS = {
  exists:
    "The server has a file of this name, and does not replace it. Rename your file, or have the other one removed.",
  notAllowed: "You may not upload here. Ask those who run the server.",
  uploadsOff: "Uploads are switched off here. Ask those who run the server, and try again later.",
  loggedOut: "The server wants to know who you are. Load this page again and sign in.",
  badName: "The server does not take this name. Give the file another one, without \\ and control characters, of at most 255 bytes.",
  noFolder: "The server has no folder for this file. Ask those who run the server.",
  tooLarge: "The file is larger than the server takes. Split it, or ask those who run the server.",
  requestTooLarge: "Something in front of the server takes no data. Ask those who run the server.",
  diskFull: "The server has no room left. The upload goes on by itself when there is some.",
  busy: "The server has too much to do. The upload goes on by itself.",
  unreachable: "The server is not there at the moment. The upload goes on by itself.",
  connectionLost: "The connection was lost. The upload goes on by itself when it is back.",
  vanished: "What had arrived was lost on the server. Try again, and it begins anew.",
  sessionLost: "The server knows this upload no more, and it begins anew. If that comes again and again, ask those who run the server.",
  sessionGone: "The server knows this upload no more. Choose the file again to see whether it has arrived.",
  applicationFailed: "The program that takes the files does not answer as it should. It is asked again.",
  applicationRefused: "The program that takes the files has refused this one. Ask those who run the server why.",
  otherServer: "Something else than the upload server has answered. Load this page again; perhaps you must sign in to the network first.",
  failed: "Something went wrong on the server. Try again later, or tell those who run it.",
  unreadable: "The file cannot be read any more: it was changed, moved or removed. Choose it again.",
  otherTab: "Another tab of this page is uploading this file. Look there; or close that tab, and choose the file here again.",
  folder: "This is a folder. Choose the files that are in it.",
  replyLost: "The connection was lost while the reply came. Save it again.",
  replyGone: "The server has this reply no more.",
  unexpected: "This page has made a mistake. Load it again, and choose the file again to go on.",
};
