// Runs uploads in their order, a few at a time.

export class Queue {
  #tasks = [];
  #running = new Set();

  constructor(atOnce = 2) {
    this.atOnce = atOnce;
  }

  get tasks() {
    return [...this.#tasks];
  }

  add(task) {
    this.#tasks.push(task);
    task.addEventListener("change", () => this.#fill());
    this.#fill();
  }

  remove(task) {
    this.#tasks = this.#tasks.filter((each) => each !== task);
  }

  #fill() {
    for (const task of this.#tasks) {
      if (this.#running.size >= this.atOnce) return;
      if (task.state === "waiting" && !this.#running.has(task)) this.#run(task);
    }
  }

  async #run(task) {
    this.#running.add(task);
    try {
      await task.run();
    } finally {
      this.#running.delete(task);
      this.#fill();
    }
  }
}
