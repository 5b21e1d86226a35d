// Keys: j and k go from query to query, the left and right arrow from page to page. Links do all of it without a script.
"use strict";
const queries = [...document.querySelectorAll("article.query")];
const link = (name) => document.querySelector(`.pages a[rel="${name}"]`);
const hint = document.querySelector(".keys");
if (hint && (queries.length || link("next"))) hint.hidden = false;

function go(step) {
  const here = document.activeElement.closest("article.query");
  let place = queries.indexOf(here) + step;
  if (!here) {
    const below = queries.findIndex((query) => query.getBoundingClientRect().top > -1);
    place = step > 0 ? below : (below < 0 ? queries.length : below) - 1;
    if (step > 0 && below < 0) place = queries.length;
  }
  const target = queries[place];
  if (target) {
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "start" });
  } else {
    link(step > 0 ? "next" : "prev")?.click();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (event.key === "j") go(1);
  else if (event.key === "k") go(-1);
  else if (event.target.closest(".wide")) return; // there the arrows scroll
  else if (event.key === "ArrowLeft") link("prev")?.click();
  else if (event.key === "ArrowRight") link("next")?.click();
});
