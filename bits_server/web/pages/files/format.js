// Sizes, rates and times in words.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** 1536 -> "1.5 KiB", the units that the settings have. */
export function formatBytes(count) {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit > 0 && value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** Bytes per second. */
export function formatRate(bytesPerSecond) {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** 3700 -> "1 h 2 min"; the two largest units. */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
}

/** Whole percent, and never 100 before it is all. */
export function formatPercent(done, total) {
  if (total === 0) return "100 %";
  return `${Math.min(done < total ? 99 : 100, Math.floor((done / total) * 100))} %`;
}

/**
 * The name of a file as it is shown: characters that would turn around what stands beside them are
 * named, so that no "exe" looks like a "jpg".
 */
export function formatName(name) {
  const named = (character) => {
    const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return `[U+${number}]`;
  };
  return name.replace(/[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, named);
}

/** Such a name within a sentence, which keeps its order around letters from right to left. */
export function nameInSentence(name) {
  return `\u2068${formatName(name)}\u2069`;
}
