// The frame's behaviour in the browser: theme, run picker, keyboard, connection to the server.

const THEMES = ["auto", "light", "dark"];
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

function theme() {
  const kept = localStorage.getItem("quintet-theme");
  return THEMES.includes(kept) ? kept : "auto";
}

function applyTheme() {
  const dark = !printing && (theme() === "dark" || (theme() === "auto" && prefersDark.matches));
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  if (document.body) {
    document.body.classList.toggle("body--dark", dark);
    document.body.classList.toggle("body--light", !dark);
  }
  const button = document.getElementById("theme");
  if (button) {
    button.textContent = { auto: "◐", light: "○", dark: "●" }[theme()];
    button.title = `Theme: ${theme()} (t)`;
    button.setAttribute("aria-label", button.title);
  }
  window.dispatchEvent(new Event("quintet-theme"));
}

function nextTheme() {
  localStorage.setItem("quintet-theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  applyTheme();
}

function isTyping(target) {
  return target.closest("input, textarea, select, [contenteditable]") !== null;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const links = document.querySelectorAll("nav.pages a");
  if (/^[1-9]$/.test(event.key) && links[event.key - 1]) links[event.key - 1].click();
  else if (event.key === "t") nextTheme();
  else if (event.key === "r") document.getElementById("run")?.focus();
  else if (event.key === "?") document.getElementById("keys")?.togglePopover?.();
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", onKey);
document.addEventListener("click", (event) => event.target.closest("#theme") && nextTheme());
document.addEventListener("change", (event) => {
  if (event.target.id === "run") location.search = new URLSearchParams({ run: event.target.value });
});
prefersDark.addEventListener("change", applyTheme);
for (const [event, value] of [["beforeprint", true], ["afterprint", false]]) {
  addEventListener(event, () => {
    printing = value;
    applyTheme();
  });
}
applyTheme();
new MutationObserver((_, observer) => {
  if (document.getElementById("theme")) {
    observer.disconnect();
    applyTheme();
  }
}).observe(document.documentElement, { childList: true, subtree: true });
