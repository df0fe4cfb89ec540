// What the page shows: one state at a time. All text of others is set as text.

const at = id => document.getElementById(id);

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/**
 * Shows a state: a headline with a detail (both may be missing), what can be done (`{label, run, icon, isMain, href}`), and the step
 * that it belongs to. Who was somewhere in what goes away is taken to what comes.
 */
function show({ tone = "", headline = "", detail = "", actions = [], content = [], step = 0, networks = false }) {
  const place = document.activeElement;
  const isHere = [at("actions"), at("networks"), at("content")].some(part => part.contains(place));
  at("status").dataset.tone = headline ? tone : "none";
  at("headline").textContent = headline;
  at("detail").replaceChildren(...[detail].flat());
  at("content").replaceChildren(...content);
  at("actions").replaceChildren(...actions.map(button));
  at("networks").hidden = !networks;
  at("steps").hidden = step === 0;
  [...at("steps").children].forEach((item, index) => {
    item.className = index + 1 < step ? "past" : "";
    if (index + 1 === step) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
  const isGone = isHere ? !place.isConnected || place.closest("[hidden]") : place === at("status") && !headline;
  if (isGone) (headline ? at("status") : (at("actions").querySelector("button, a") ?? at("status"))).focus();
}

function button({ label, run, icon, isMain, href, download }) {
  const className = isMain ? "main" : "";
  if (href) return element("a", { className: `button ${className}`, href, download: download ?? "", textContent: label });
  const made = element("button", { type: "button", className }, label);
  // A picture of another site would be a request to it.
  if (/^data:image\//.test(icon ?? "")) made.prepend(element("img", { src: icon, alt: "" }));
  made.addEventListener("click", run);
  return made;
}

const note = (...text) => element("p", { className: "note" }, ...text);
const link = (href, text) => element("a", { href, rel: "noreferrer noopener", target: "_blank", textContent: text });
const short = account => `${account.slice(0, 6)}…${account.slice(-4)}`;
const busy = (headline, detail, step) => show({ tone: "busy", headline, detail, step });

/** Lists the networks, where there are several to choose from. */
function listNetworks(choices, chosen) {
  choices.forEach((choice, index) => {
    const radio = element("input", { type: "radio", name: "network", value: String(index), checked: index === 0 });
    radio.addEventListener("change", () => chosen(choice));
    at("networks").append(element("label", {}, radio, element("span", { textContent: choice.label }), element("small", { textContent: choice.price })));
  });
}

function showPrice(choice) {
  at("price").textContent = choice.price;
  at("unit").textContent = choice.unit;
}
