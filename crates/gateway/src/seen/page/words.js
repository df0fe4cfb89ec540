// How things are written, and how elements are made: always of text, never of markup.
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, heard] of Object.entries(value)) element.addEventListener(event, heard);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const find = selector => document.querySelector(selector);

/** An exact decimal with its thousands apart, and the cents that people expect of dollars. */
function decimal(text, cents = 0) {
  const [whole, fraction = ""] = text.split(".");
  const digits = fraction.padEnd(cents, "0");
  return whole.replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009") + (digits ? "." + digits : "");
}
const money = (text, unit) => (unit === "USD" ? "$" + decimal(text, 2) : `${decimal(text)} ${unit}`);
const count = (number, one, many = one + "s") => `${decimal(String(number))} ${number === 1 ? one : many}`;

const chain = network => NETWORKS[chainIdOf(network)] ?? [];
/** A long name by its ends. */
const short = text => (text.length > 18 ? `${text.slice(0, 8)}…${text.slice(-6)}` : text);

/** Where a transaction can be looked up; its bare name where that is not known. */
function transactionLink(network, transaction) {
  if (!transaction) return make("span", { class: "quiet" }, "none known");
  const url = transactionUrl(network, transaction);
  const name = make("code", { title: transaction }, short(transaction));
  return url ? make("a", { href: url, rel: "noreferrer noopener", target: "_blank" }, name) : name;
}

const formats = {};
function time(seconds, options) {
  const key = JSON.stringify(options);
  formats[key] ??= new Intl.DateTimeFormat("en-GB", { hourCycle: "h23", ...options });
  return formats[key].format(new Date(seconds * 1000));
}
const CLOCK = { hour: "2-digit", minute: "2-digit" };
const DAY = { day: "numeric", month: "short" };
const moment = seconds => time(seconds, { ...DAY, ...CLOCK });

/** A stretch of time that begins then. */
function stretch(at, length) {
  if (length >= 86400) return time(at, { weekday: "short", ...DAY });
  const begins = length > 3600 ? `${time(at, DAY)}, ${time(at, CLOCK)}` : time(at, CLOCK);
  return `${begins}–${time(at + length, CLOCK)}`;
}
const tick = (at, length) => time(at, length >= 21600 ? DAY : CLOCK);

function age(seconds) {
  const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const [length, unit] = steps.find(([length]) => seconds >= length) ?? steps[3];
  return `${Math.floor(seconds / length)} ${unit}`;
}

/** What outcomes are called. */
const OUTCOMES = {
  refused: "Payment refused", failed_free: "The work failed, nobody paid", pending: "Not known yet whether paid",
  blocked: "Turned away", problem: "Answered with a problem", left: "The client left",
};
const plain = word => (word ?? "").replaceAll("_", " ");
