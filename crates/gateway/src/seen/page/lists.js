// Lists: sales, open payments, causes, accounts.
function table(columns, rows, label) {
  const head = make("tr", {}, ...columns.map(([name, isNumber]) => make("th", { scope: "col", class: isNumber ? "n" : null }, name)));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}
const cell = (kind, ...content) => make("td", { class: kind }, ...content);
const priceOf = entry => (entry.isUsd ? money(entry.amount, "USD") : money(entry.amount, entry.symbol));
const payerOf = entry => (entry.payer ? make("code", { title: entry.payer }, short(entry.payer)) : make("span", { class: "quiet" }, "not said"));
const amountCell = entry => cell("n", priceOf(entry), make("small", {}, `${entry.symbol}, ${networkName(entry.network)}`));
const itemCell = entry => cell("", entry.route, make("small", {}, entry.resource));

function salesTable(entries) {
  const rows = entries.map(sale => make("tr", {}, cell("w", moment(sale.at)), itemCell(sale), cell("w", payerOf(sale)), amountCell(sale),
    cell("w", transactionLink(sale.network, sale.transaction), sale.settledBy === "hook" ? make("small", {}, "by a hook's word") : null)));
  return table([["When"], ["Sold"], ["Payer"], ["Amount", true], ["Transaction"]], rows, "Latest sales");
}

function openTable(entries, settlesHere) {
  const unknown = settlesHere
    ? "The buyer may present the same payment again and is answered. What the chain says of it: "
    : "The buyer may present the same payment again and is answered. Ask your facilitator what became of ";
  const rows = entries.map(open => {
    const isUnknown = open.state === "unknown";
    const todo = isUnknown
      ? cell("", make("span", { class: "tag bad" }, `unknown for ${age(open.ageSeconds)}`), make("small", {}, unknown,
        make("code", {}, settlesHere ? `farthing ledger show ${open.payment}` : open.payment)))
      : cell("", make("span", { class: "tag" }, `being settled for ${age(open.ageSeconds)}`), make("small", {}, "Nothing to do."));
    return make("tr", {}, cell("w", moment(open.at)), itemCell(open), cell("w", payerOf(open)), amountCell(open), todo);
  });
  return table([["Since"], ["For"], ["Payer"], ["Amount", true], ["What to do"]], rows, "Open payments");
}

function sponsorsTable(sponsors) {
  const rows = sponsors.map(one => make("tr", {}, cell("", networkName(one.network), make("small", {}, one.network)),
    cell("", make("code", {}, one.account)),
    cell("n", one.balance === null ? make("span", { class: "quiet" }, "cannot be asked") : `${decimal(one.balance)} ${chain(one.network)[1] ?? ""}`.trim(),
      one.lowMark === null ? null : make("small", {}, `low below ${decimal(one.lowMark)}`)),
    cell("w", one.isLow ? make("span", { class: "tag bad" }, "low: fund it") : make("span", { class: "tag" }, one.balance === null ? "unknown" : "enough"))));
  return table([["Network"], ["Account"], ["Holds", true], ["State"]], rows, "Accounts that pay for gas");
}

function failureBars(failures) {
  const most = Math.max(...failures.map(failure => failure.count));
  return make("div", { class: "bars" }, ...failures.slice(0, 12).map(failure =>
    make("div", { class: "bar" },
      make("em", {}, OUTCOMES[failure.outcome] ?? failure.outcome, make("small", {}, `  ${failure.reason ? plain(failure.reason) + " · " : ""}${failure.route}`)),
      make("b", {}, decimal(String(failure.count))), share(failure.count, most, failure.outcome === "failed_free" || failure.outcome === "pending" ? 3 : 1))));
}
