// Filters the cases by verdict (the chips) and by text (the search field). Without it every case shows.
"use strict";
const chips = [...document.querySelectorAll("button.chip")];
const search = document.querySelector("#search");

function apply() {
  const on = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.verdict);
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("section.rfc")) {
    let shown = 0;
    for (const item of section.querySelectorAll("details.case")) {
      const label = item.querySelector("summary").textContent.toLowerCase();
      item.hidden = (on.length > 0 && !on.includes(item.dataset.verdict)) || !words.every((word) => label.includes(word));
      shown += item.hidden ? 0 : 1;
    }
    section.hidden = shown === 0;
  }
}

function reveal() {
  const item = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (item && item.matches("details.case")) {
    item.hidden = item.closest("section").hidden = false;
    item.open = true;
    item.scrollIntoView();
  }
}

for (const chip of chips) {
  chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
    apply();
  });
}
if (search) {
  document.querySelector(".tools").hidden = false;
  search.addEventListener("input", apply);
}
window.addEventListener("hashchange", reveal);
reveal();
