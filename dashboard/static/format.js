// How numbers look on the page, and the page's colours as JavaScript sees them.

const STEPS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const BYTES = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]];

/** A CSS variable's value. */
export function css(name) {
  return getComputedStyle(document.body).getPropertyValue(name).trim();
}

/** A number in few characters: 12.1k, 43 %, 21.3 MiB, 0.0018. */
export function shown(value, unit) {
  if (value == null || !isFinite(value)) return "–";
  if (unit === "%") return `${trim(100 * value, 3)}%`;
  if (unit === "bytes") return scaled(value, BYTES, " ") || `${Math.round(value)} B`;
  return scaled(value, STEPS, "") || trim(value, 3);
}

/** A number with all the digits that mean something. */
export function decimals(value, unit) {
  if (value == null || !isFinite(value)) return "–";
  if (unit === "%") return `${(100 * value).toFixed(1)} %`;
  if (unit === "bytes") return shown(value, unit);
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : trim(value, 5);
}

function scaled(value, units, gap) {
  const found = units.find(([size]) => Math.abs(value) >= size);
  return found && `${trim(value / found[0], 3)}${gap}${found[1]}`;
}

function trim(value, digits) {
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(1);
  return String(Number(value.toPrecision(digits)));
}
