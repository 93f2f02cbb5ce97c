// What is remembered of unfinished uploads, so that they go on after the tab was closed.
// Nothing of a file's content; where the browser keeps nothing, all works but that.

const OLDEST_DAYS = 60;

export class Memory {
  #key;

  /** `user`: nobody is shown what another user of this browser has begun. */
  constructor(user, place = location.pathname, storage = storageOrNull()) {
    this.#key = `bits-upload ${place} ${user}`;
    this.storage = storage;
  }

  /** All entries: sessionId, name, size, modified, print, received, isClosing, hasReply, when. */
  entries() {
    try {
      const found = JSON.parse(this.storage?.getItem(this.#key) ?? "[]");
      const oldest = Date.now() - OLDEST_DAYS * 86400_000;
      return found.filter((each) => isEntry(each) && each.when > oldest);
    } catch {
      return [];
    }
  }

  /** The entry of this very file, or null. `print`: its fingerprint. */
  find(file, print) {
    const isIt = (each) =>
      each.name === file.name &&
      each.size === file.size &&
      each.modified === file.lastModified &&
      each.print === print;
    return (print && this.entries().find(isIt)) || null;
  }

  keep(entry) {
    const others = this.entries().filter((each) => each.sessionId !== entry.sessionId);
    this.#write([...others, { ...entry, when: Date.now() }]);
  }

  forget(sessionId) {
    this.#write(this.entries().filter((each) => each.sessionId !== sessionId));
  }

  #write(entries) {
    try {
      this.storage?.setItem(this.#key, JSON.stringify(entries));
    } catch {
      // Full, or forbidden: the upload goes on all the same.
    }
  }
}

function isEntry(value) {
  return (
    typeof value?.sessionId === "string" &&
    typeof value.name === "string" &&
    typeof value.print === "string" &&
    [value.size, value.modified, value.received, value.when].every(Number.isFinite)
  );
}

function storageOrNull() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
