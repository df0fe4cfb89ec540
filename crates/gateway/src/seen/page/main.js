// Asks, again and again, and shows what is answered.
const REFRESH_MILLISECONDS = 5000;
const state = { by: "route", older: [], next: null, round: 0 };
const range = () => find("#ranges input[name=range]:checked").value;
const placeIn = (selector, key) => {
  const plots = find(`${selector} .plots`);
  plots.kept ??= {};
  return (plots.kept[key] ??= make("div", { class: "unit" }));
};

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", headers: { accept: "application/json" } });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.message ?? `${path}: ${answer.status}`);
  return said;
}

/** How many of those who were told the price paid, in whole percent of what was asked. */
const percent = (paid, asked) => (asked > 0 ? `${Math.round((100 * paid) / asked)}%` : "–");
const of = (counts, name) => counts[name] ?? 0;
const failuresOf = counts => Object.keys(OUTCOMES).reduce((sum, name) => sum + of(counts, name), 0);

function showRevenue({ units, from, bucketSeconds, by }) {
  const name = series => (series.isRest ? "All others" : by === "network" ? networkName(series.group) : by === "payer" ? short(series.group) : series.group);
  const shown = units.map(unit => {
    const place = placeIn("#revenue", `${unit.unit} ${unit.network}`);
    plot(place, {
      label: `Revenue in ${unit.unit} over time by ${by}`, from, length: bucketSeconds,
      series: unit.series.map((series, index) => ({
        name: name(series), title: series.group ?? "", colour: series.isRest ? 6 : index, total: money(series.amount, unit.unit),
        points: series.points.map(point => ({ value: point.amount, text: money(point.amount, unit.unit) })),
      })),
      sum: index => totalOf(unit, index),
      axis: number => (unit.unit === "USD" ? `$${number < 1 && number > 0 ? String(number).padEnd(4, "0") : number}` : String(number)),
    });
    return place;
  });
  find("#revenue .plots").replaceChildren(...shown);
  if (!shown.length) find("#revenue .plots").append(make("p", { class: "quiet" }, "Nothing was sold in this time."));
}

/** The exact sum of a stretch of time: decimals are added as integers. */
function totalOf(unit, index) {
  const amounts = unit.series.map(series => series.points[index].amount);
  const places = Math.max(...amounts.map(amount => (amount.split(".")[1] ?? "").length));
  const units = amounts.reduce((sum, amount) => {
    const [whole, fraction = ""] = amount.split(".");
    return sum + BigInt(whole + fraction.padEnd(places, "0"));
  }, 0n);
  const digits = String(units).padStart(places + 1, "0");
  const sales = unit.series.reduce((sum, series) => sum + series.points[index].sales, 0);
  const text = places ? `${digits.slice(0, -places)}.${digits.slice(-places)}` : digits;
  return `${money(text, unit.unit)} (${count(sales, "sale")})`;
}

function showRequests({ points, routes, failures, total, from, bucketSeconds, since }) {
  const [asked, paid] = [of(total, "required"), of(total, "paid")];
  const place = placeIn("#conversion", "all");
  const line = (title, name, colour, value) => ({
    name, title, colour, total: decimal(String(points.reduce((sum, point) => sum + value(point), 0))),
    points: points.map(point => ({ value: value(point), text: decimal(String(value(point))) })),
  });
  plot(place, {
    label: "Requests that were told the price, and that paid, over time", from, length: bucketSeconds, isWhole: true,
    series: [line("", "paid", 0, point => of(point, "paid")), line("told the price (402)", "asked, and did not pay", 6, point => Math.max(0, of(point, "required") - of(point, "paid")))],
    sum: index => `${percent(of(points[index], "paid"), of(points[index], "required"))} of ${decimal(String(of(points[index], "required")))} paid`,
    axis: number => decimal(String(number)),
  });
  const priced = routes.filter(({ counts }) => of(counts, "required") + of(counts, "paid") > 0);
  const rows = priced.map(({ route, counts }) => make("tr", {}, cell("", route), cell("n", decimal(String(of(counts, "required")))),
    cell("n", decimal(String(of(counts, "paid")))), cell("n", percent(of(counts, "paid"), of(counts, "required")))));
  const byRoute = rows.length ? table([["Route"], ["Asked", true], ["Paid", true], ["Share", true]], rows, "Conversion by route") : null;
  find("#conversion .plots").replaceChildren(...[place, byRoute, make("p", { class: "quiet" }, `Counted since the start, ${moment(since)}. Most purchases ask first and pay then.`)].filter(Boolean));
  find("#failures .plots").replaceChildren(failures.length ? failureBars(failures) : make("p", { class: "quiet" }, "Nothing, since the start."));
  return { asked, paid };
}

const tile = (name, value, note) => make("dl", { class: "tile" }, make("dt", {}, name), make("dd", {}, value, note ? make("small", {}, note) : null));

function showTiles(revenue, requests, open) {
  const [first, ...others] = revenue.units;
  const sales = revenue.units.reduce((sum, unit) => sum + unit.sales, 0);
  const [asked, paid] = [of(requests.total, "required"), of(requests.total, "paid")];
  const failed = failuresOf(requests.total);
  const unknown = open.entries.filter(entry => entry.state === "unknown").length;
  const more = open.next ? "+" : "";
  find("#tiles").replaceChildren(
    tile("Revenue", first ? money(first.amount, first.unit) : "$0.00", others.length ? "and " + others.map(unit => money(unit.amount, unit.unit)).join(", ") : null),
    tile("Sales", decimal(String(sales))),
    tile("Asked, and paid", percent(paid, asked), `${decimal(String(paid))} of ${decimal(String(asked))}`),
    tile("Came to nothing", decimal(String(failed)), count(of(requests.total, "failed_free"), "failure", "failures") + " of work"),
    tile("Open payments", open.entries.length + more, unknown ? `${unknown}${more} unknown` : "all well"),
  );
  find("#empty").hidden = sales > 0;
  for (const part of ["#revenue", "#sales"]) find(part).hidden = sales === 0;
}

function showStatus(status, open) {
  const { upstream, sponsors, since, version, now } = status;
  find("#upstream").replaceChildren(make("span", { class: upstream.isUp ? "dot" : "dot bad" }), `${upstream.origin} ${upstream.isUp ? "is up" : "is down"}`);
  const unknown = open.entries.filter(entry => entry.state === "unknown");
  const notices = [
    upstream.isUp ? null : "The upstream is down: nothing is let through to it, and nobody is charged.",
    unknown.length ? `${count(unknown.length, "payment")} of which nobody knows whether ${unknown.length === 1 ? "it was" : "they were"} charged; the list below says what to do.` : null,
    ...sponsors.filter(one => one.isLow).map(one => `${short(one.account)} on ${networkName(one.network)} is low: fund it, or payments there will not settle.`),
  ].filter(Boolean);
  find("#attention").hidden = !notices.length;
  find("#attention").replaceChildren(...notices.map(text => make("p", { class: "notice" }, make("span", { class: "dot" }), make("span", {}, text))));
  find("#sponsors").hidden = !sponsors.length;
  find("#sponsors .list").replaceChildren(sponsorsTable(sponsors));
  find("#since").replaceChildren(`Farthing ${version}, running since ${moment(since)}. Sales are of the book; requests are counted since then.`);
  find("#updated").replaceChildren(`As of ${time(now, { ...CLOCK, second: "2-digit" })}`);
}

function showSales(page) {
  const fresh = new Set(page.entries.map(sale => sale.payment));
  const older = state.older.filter(sale => !fresh.has(sale.payment));
  const next = state.older.length ? state.next : page.next;
  const more = next ? make("button", { type: "button", class: "more", on: { click: () => showMore(next) } }, "Older sales") : null;
  find("#sales .list").replaceChildren(...[salesTable([...page.entries, ...older]), more].filter(Boolean));
  state.page = page;
}

async function showMore(next) {
  const page = await ask(`/api/sales?range=${range()}&limit=20&after=${encodeURIComponent(next)}`);
  state.older.push(...page.entries);
  state.next = page.next;
  showSales(state.page);
}

async function refresh() {
  const round = ++state.round;
  try {
    const [asked, by] = [range(), state.by];
    const [status, revenue, requests, sales, open] = await Promise.all([
      ask("/api/status"), ask(`/api/revenue?range=${asked}&by=${by}`), ask(`/api/requests?range=${asked}`),
      ask(`/api/sales?range=${asked}&limit=20`), ask("/api/open?limit=50"),
    ]);
    // Somebody has asked for something else meanwhile.
    if (round !== state.round) return;
    showTiles(revenue, requests, open);
    showStatus(status, open);
    showRevenue(revenue);
    showRequests(requests);
    showSales(sales);
    find("#open").hidden = !open.entries.length;
    find("#open .list").replaceChildren(openTable(open.entries, status.sponsors.length > 0));
    find("#trouble").hidden = true;
    document.documentElement.dataset.shown = `${asked} ${by}`;
  } catch (error) {
    if (round !== state.round) return;
    find("#trouble").hidden = false;
    find("#trouble").replaceChildren(`This page could not be brought up to date: ${error.message}`);
  }
}

function anew() {
  Object.assign(state, { older: [], next: null });
  refresh();
}

find("#ranges").addEventListener("change", anew);
for (const button of document.querySelectorAll("[data-by]")) {
  button.addEventListener("click", () => {
    state.by = button.dataset.by;
    for (const other of document.querySelectorAll("[data-by]")) other.setAttribute("aria-pressed", String(other === button));
    anew();
  });
}
addEventListener("resize", () => document.querySelectorAll(".unit").forEach(place => place.paint?.()));
setInterval(() => find("#auto").checked && !document.hidden && refresh(), REFRESH_MILLISECONDS);
refresh();
