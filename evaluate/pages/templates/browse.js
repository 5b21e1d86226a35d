// Drop or paste a file anywhere, or choose one, and it is searched with. Without a script the form does the same with its button.
"use strict";
const form = document.querySelector("form.ask");
const input = form.querySelector('input[type="file"]');
const error = form.querySelector(".error");

function refusal() {
  const file = input?.files[0];
  const most = Number(form.dataset.mostBytes);
  return file && file.size > most ? `${file.name} has ${(file.size / 1e6).toFixed(1)} MB; at most ${most / 1e6} MB` : "";
}

form.addEventListener("submit", (event) => {
  error.textContent = refusal();
  if (error.textContent) {
    input.value = ""; // or it would be refused again with the next words
    return event.preventDefault();
  }
  form.setAttribute("aria-busy", "true");
  form.querySelector("button").textContent = "Searching …";
});

window.addEventListener("pageshow", () => {
  form.removeAttribute("aria-busy");
  form.querySelector("button").textContent = "Search";
});

if (input) {
  document.querySelector(".drag").hidden = false;
  const take = (event, files) => {
    if (!files?.length) return;
    event.preventDefault();
    input.files = files;
    form.requestSubmit();
  };
  input.addEventListener("change", () => input.files.length && form.requestSubmit());
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    take(event, event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event, event.clipboardData.files));
}
