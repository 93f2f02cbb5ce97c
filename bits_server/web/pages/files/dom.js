// Elements from texts and values. Text becomes text: nothing here makes HTML of a string.

/**
 * An element with its properties and children; a child is a node or a text.
 * Properties are those of the DOM (className, textContent, type); what has a dash is an attribute.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Have `element` say `text`; where it does, whoever has selected a part of it keeps that. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Fill the page: data-text names the text of an element, data-label its aria-label. */
export function fillTexts(texts, root = document) {
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = texts[element.dataset.text];
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", texts[element.dataset.label]);
  }
}

/** Says things to those who listen to the page; `region` has role="status". */
export class Announcer {
  #region;
  #waiting = [];

  constructor(region) {
    this.#region = region;
  }

  say(text) {
    // Together, for a region that is told two things at once says the last one only.
    if (this.#waiting.push(text) > 1) return;
    this.#region.textContent = "";
    setTimeout(() => {
      this.#region.textContent = this.#waiting.splice(0).join(" ");
    }, 150);
  }
}

/**
 * Change what `container` shows, and keep the focus in it: where its button is hidden, the first
 * that is not gets it, or the container itself, which then needs a tabIndex of -1.
 */
export function keepFocus(container, change) {
  const hadFocus = container.contains(document.activeElement);
  change();
  const now = document.activeElement;
  if (!hadFocus || (container.contains(now) && now !== container && !now.hidden)) return;
  (container.querySelector("button:not([hidden]):not(:disabled)") ?? container).focus();
}
