"""Slider, buttons and keys that move a film in the browser: a step is shown at once, without asking the server."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

HTML = """
<div role="group" aria-label="Film of the attack">
  <div class="row">
    <button data-by="-1" aria-label="Step back" title="Step back: left arrow on the slider">◀</button>
    <button data-play>▶ Play</button>
    <button data-by="1" aria-label="Step on" title="Step on: right arrow on the slider">▶❙</button>
    <label>Step of the attack <input type="range" min="0" step="1" title="Drag, or use the arrow keys; space plays"></label>
    <output></output>
  </div>
  <p aria-live="polite"></p>
</div>
"""
CSS = """
div { font-family: var(--st-font); color: var(--st-text-color); font-size: 1rem }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem }
label { display: flex; flex: 1 1 16rem; align-items: center; gap: .75rem; white-space: nowrap; font-size: .875rem }
input { flex: 1; min-width: 8rem; height: 1.5rem; accent-color: var(--st-primary-color); cursor: pointer }
button { font: inherit; color: inherit; background: var(--st-secondary-background-color); min-height: 2.5rem; min-width: 2.75rem;
  border: 1px solid var(--st-border-color); border-radius: .5rem; padding: .25rem .75rem; cursor: pointer }
button[data-play] { min-width: 6.5rem }
button:hover { border-color: var(--st-primary-color) }
:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px }
output { min-width: 7rem; text-align: right; font-variant-numeric: tabular-nums }
p { margin: .75rem 0 0; line-height: 1.5; min-height: 4.5em }
@media (max-width: 1100px) { p { min-height: 7.5em } }
"""
JS = """
export default function ({ parentElement, data }) {
  const find = (what) => parentElement.querySelector(what);
  const slider = find("input"), play = find("[data-play]"), line = find("p"), shown = find("output");
  const last = data.names.length - 1;
  const kept = parentElement.film ?? {};  // of an earlier drawing of the page
  const film = parentElement.film = { id: data.id, at: kept.id === data.id ? kept.at : 0 };
  let timer = null, busy = false;
  const chart = () => document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
  const said = (text) => {  // **strong**, nothing else, and never as HTML
    line.replaceChildren(...text.split("**").map((part, place) => {
      const piece = document.createElement(place % 2 ? "strong" : "span");
      piece.textContent = part;
      return piece;
    }));
  };
  const draw = async () => {
    const plot = chart();
    if (!plot || !window.Plotly || busy) return;
    if (!plot.dataset.watched) {
      plot.dataset.watched = "yes";
      plot.on("plotly_afterplot", () => { delete plot.dataset.step; });  // drawn anew: it stands at its first step again
    }
    const buttons = plot.querySelector(".updatemenu-container");
    if (buttons) buttons.style.display = "none";  // these do the same, and with keys
    busy = true;
    const name = data.names[film.at], still = { duration: 0 };
    try {
      await window.Plotly.animate(plot, [name], { mode: "immediate", frame: { ...still, redraw: false }, transition: still });
      plot.dataset.step = name;
    } catch { /* drawn anew or ended by a later step */ }
    busy = false;
    if (name !== data.names[film.at]) draw();
  };
  const go = (place) => {
    film.at = Math.min(Math.max(place, 0), last);
    slider.value = film.at;
    const words = `step ${data.names[film.at]} of ${data.names[last]}`;
    slider.setAttribute("aria-valuetext", words);
    shown.textContent = words;
    said(data.lines[film.at]);
    draw();
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
    line.setAttribute("aria-live", "polite");
  };
  const start = () => {
    play.textContent = "❚❚ Pause";
    line.setAttribute("aria-live", "off");  // too fast to be read out
    if (film.at === last) go(0);
    timer = setInterval(() => { go(film.at + 1); if (film.at === last) stop(); }, data.pace);
  };
  const toggle = () => timer === null ? start() : stop();
  slider.max = last;
  slider.oninput = () => { stop(); go(Number(slider.value)); };
  slider.onkeydown = (event) => { if (event.key === " ") { event.preventDefault(); toggle(); } };
  play.onclick = toggle;
  for (const button of parentElement.querySelectorAll("[data-by]"))
    button.onclick = () => { stop(); go(film.at + Number(button.dataset.by)); };
  go(film.at);
  // The page may draw the chart later than this, or anew.
  const watch = setInterval(() => { if (chart() && chart().dataset.step !== data.names[film.at]) draw(); }, 250);
  return () => { clearInterval(timer); clearInterval(watch); };
}
"""
_component = st.components.v2.component("hfcviz.film_controls", html=HTML, css=CSS, js=JS)


def controls(name: str, chart: str, steps: Sequence[str], lines: Sequence[str], pace: int) -> None:
    """Controls of the chart of that key, whose frames are called like the steps; a line of text for each; pace in milliseconds.

    name: of the film; another one begins at its first step.
    """
    data = {"id": name, "chart": f"chart-{chart}", "names": list(steps), "lines": list(lines), "pace": pace}
    _component(key=f"{chart}.controls", data=data)
