// Stacked bars over time, with axes, values under the pointer or the arrow keys, a legend, and the same figures as a table.
const HEIGHT = 190;
const EDGE = { top: 12, right: 4, bottom: 24 };

/** The ends of about four equal steps that people like, up to at least this. */
function steps(most) {
  if (!(most > 0)) return [0, 1];
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(times => times * power).find(step => step >= rough * 0.999);
  const ends = [0];
  while (ends.at(-1) < most * 0.999) ends.push(Number((ends.length * step).toPrecision(12)));
  return ends;
}

/**
 * Draws a plot into a place: `{label, from, length, series: [{name, title, colour, points: [{value, text}], total}], sum(index),
 * axis(number), isStacked}`. What was looked at stays looked at when it is drawn again.
 */
function plot(place, { label, from, length, series, sum, axis, isWhole }) {
  const before = place.plotted ?? {};
  const buckets = series[0]?.points.length ?? 0;
  const readout = before.readout ?? make("p", { class: "readout", "aria-live": "polite" });
  const svg = draw("svg", { role: "img", tabindex: "0", "aria-label": label, height: HEIGHT });
  let chosen = before.chosen ?? null;
  const say = index => {
    if (index === null) {
      readout.replaceChildren("Point at a bar, or move with the arrow keys.");
      return;
    }
    const parts = series.filter(one => Number(one.points[index].value) > 0).map(one => ` · ${one.name} ${one.points[index].text}`);
    readout.replaceChildren(make("b", {}, stretch(from + index * length, length)), "  ", make("b", {}, sum(index)), parts.join(""));
  };
  const choose = index => {
    chosen = index;
    place.plotted.chosen = index;
    svg.querySelectorAll(".hit").forEach((hit, place) => hit.classList.toggle("on", place === index));
    say(index);
  };
  const paint = () => {
    const width = Math.max(260, place.clientWidth || 600);
    const heights = Array.from({ length: buckets }, (_, index) => series.reduce((sum, one) => sum + Number(one.points[index].value), 0));
    let ends = steps(Math.max(...heights, 0));
    if (isWhole) ends = ends.filter(Number.isInteger);
    if (ends.length < 2) ends = [0, 1];
    const left = 12 + 6.6 * Math.max(...ends.map(end => axis(end).length));
    const [wide, high] = [width - left - EDGE.right, HEIGHT - EDGE.top - EDGE.bottom];
    const y = value => EDGE.top + high - (value / ends.at(-1)) * high;
    const each = wide / Math.max(buckets, 1);
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const drawn = ends.flatMap(end => [
      draw("line", { class: end === 0 ? "base" : "grid", x1: left, x2: width - EDGE.right, y1: y(end), y2: y(end) }),
      draw("text", { x: left - 8, y: y(end) + 4, "text-anchor": "end" }, axis(end)),
    ]);
    const apart = Math.ceil(buckets / Math.max(2, Math.floor(wide / 78)));
    for (let index = 0; index < buckets; index++) {
      const x = left + index * each;
      let floor = 0;
      for (const one of series) {
        const value = Number(one.points[index].value);
        if (value > 0) {
          const tall = Math.max(1, y(floor) - y(floor + value));
          drawn.push(draw("rect", { class: `f${one.colour}`, x: x + each * 0.14, width: each * 0.72, y: y(floor) - tall, height: tall, rx: Math.min(2, each / 8) }));
        }
        floor += value;
      }
      if ((buckets - 1 - index) % apart === 0 && x + each / 2 > left + 14) {
        const isLast = index === buckets - 1;
        drawn.push(draw("text", { x: isLast ? width - EDGE.right : x + each / 2, y: HEIGHT - 6, "text-anchor": isLast ? "end" : "middle" }, isLast ? "now" : tick(from + index * length, length)));
      }
    }
    for (let index = 0; index < buckets; index++) {
      const on = { pointerenter: () => choose(index), pointerdown: () => choose(index) };
      drawn.push(draw("rect", { class: index === chosen ? "hit on" : "hit", x: left + index * each, width: each, y: EDGE.top, height: high, on }));
    }
    svg.replaceChildren(...drawn);
  };
  svg.addEventListener("pointerleave", () => choose(null));
  svg.addEventListener("blur", () => choose(null));
  svg.addEventListener("keydown", event => {
    const moves = { ArrowLeft: (chosen ?? buckets) - 1, ArrowRight: (chosen ?? -1) + 1, Home: 0, End: buckets - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(buckets - 1, moves[event.key])));
  });
  const legend = make("ul", { class: "legend" }, ...series.map(one =>
    make("li", {}, make("i", { class: `f${one.colour}` }), make("span", { title: one.title }, one.name), make("b", {}, one.total))));
  const rows = Array.from({ length: buckets }, (_, index) => index).reverse().map(index =>
    make("tr", {}, make("td", { class: "w" }, stretch(from + index * length, length)), make("td", { class: "n" }, sum(index)),
      ...series.map(one => make("td", { class: "n" }, one.points[index].text))));
  const head = make("tr", {}, make("th", { scope: "col" }, "Time"), make("th", { scope: "col", class: "n" }, "Together"),
    ...series.map(one => make("th", { scope: "col", class: "n", title: one.title }, one.name)));
  const table = make("details", { open: before.details?.open ?? false }, make("summary", {}, "The same as a table"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label}, as a table` },
      make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
  const hadFocus = before.svg && document.activeElement === before.svg;
  place.plotted = { readout, svg, details: table, chosen };
  place.replaceChildren(readout, svg, legend, table);
  paint();
  say(chosen);
  if (hadFocus) svg.focus({ preventScroll: true });
  place.paint = paint;
}

/** A share of the whole, as a thin bar. */
function share(part, whole, colour) {
  const width = whole > 0 ? (100 * part) / whole : 0;
  return draw("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "track", width: 100, height: 6 }), draw("rect", { class: `f${colour}`, width, height: 6 }));
}
