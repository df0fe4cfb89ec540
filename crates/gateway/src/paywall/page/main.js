// The page's course: what is offered, a wallet, a signature, the payment, what it bought.

const data = JSON.parse(at("data").textContent);
// A page that is loaded to open a purchase, and is this one again within so long, did not open it.
const RELOAD_MILLISECONDS = 15_000;
const LOADED_KEY = `${KEY} loaded`;
let wallets = null;
let choice = null;
let isBusy = false;
/** How the wallets were last listed, as long as they are; more of them may be found. */
let listed = null;

/** The offers that a page can pay, as people choose among them. */
const choices = data.terms.accepts.flatMap((offer, index) => {
  if (methodOf(offer) instanceof Error) return [];
  const token = tokenName(offer);
  const [price, network] = [data.prices[index], networkName(offer.network)];
  const unit = price.startsWith("$") && token ? `in ${token} on ${network}` : `on ${network}`;
  return [{ offer, index, price, network, unit, label: token ? `${network} · ${token}` : network }];
});

function start() {
  listed = null;
  const kept = keeper.read();
  let note = "";
  // The purchase that came along on loading this page opened nothing.
  if (data.cameBack && kept?.delivered && data.terms.error !== "settlement_pending") {
    keeper.forget();
    note = "What you bought here earlier is not kept any more, so it can’t be shown again.";
  }
  if (data.method !== "GET" && data.method !== "HEAD") {
    return stop("This can’t be paid for on this page", `It was asked for with ${data.method}, and what was sent along is gone. Go back, or pay with a program.`);
  }
  if (!keeper.works()) {
    return stop("Your browser keeps nothing for this site", "A payment could get lost on its way, so none is made. Allow site data, and load the page again.");
  }
  const left = note ? null : kept;
  if (left && !left.delivered) return resume(left);
  if (left) return offerAgain(left);
  if (!choices.length) {
    const why = data.terms.accepts.map(offer => methodOf(offer).message);
    return stop("This can’t be paid for on this page", `Of what is offered, ${why[0]}. It can be paid for with a program.`);
  }
  choose(note);
}

/** Nothing that this page could do. */
function stop(headline, detail) {
  at("programs").open = true;
  show({ tone: "ask", headline, detail });
}

/** Something of before is still there. */
function resume(kept) {
  const [headline, detail] = ["Finishing your payment", `You have signed for ${kept.price} already. The same payment is presented again, so you pay once.`];
  run(() => finish(kept, headline, detail), headline, detail);
}

function offerAgain(kept) {
  show({
    tone: "good",
    headline: "You have bought this",
    detail: "Opening it again costs nothing, as long as it is kept for you.",
    actions: [
      { label: "Open it again", isMain: true, run: () => run(() => finish(kept, "Asking for it again", ""), "Asking for it again", "") },
      ...(choices.length ? [{ label: `Buy it anew for ${choices[0].price}`, run: () => choose("", kept.header) }] : []),
    ],
  });
}

/** The wallets to pay with; `replaces` is the purchase that is made anew. */
function choose(headline = "", replaces = null) {
  if (wallets === null) return;
  const networks = choices.length > 1;
  listed = [headline, replaces];
  if (!wallets.length) {
    return show({
      tone: "ask",
      headline: headline || "No wallet found in this browser",
      detail: "A wallet is an app that holds digital dollars and signs for what you spend. With one installed, come back to this page.",
      content: [note(link("https://ethereum.org/wallets/find-wallet/", "Find a wallet"), " that suits you, and put some ", `${tokenName(choice.offer) || "of the token"} on ${choice.network} into it.`)],
      actions: [{ label: "Look again", isMain: true, run: () => location.reload() }],
    });
  }
  const price = data.terms.accepts[choice.index].scheme === "upto" ? `up to ${choice.price}` : choice.price;
  show({
    tone: "ask",
    headline,
    networks,
    step: 1,
    actions: wallets.map((wallet, index) => ({
      label: `Pay ${price} with ${wallet.name}`,
      icon: wallet.icon,
      isMain: index === 0,
      run: () => run(() => pay(wallet, choice, replaces), "Connecting", `Look at ${wallet.name}.`),
    })),
  });
}

/** Does one thing at a time, in one tab of all. */
async function run(work, headline, detail) {
  if (isBusy) return;
  isBusy = true;
  listed = null;
  busy(headline, detail, 2);
  try {
    const ran = await alone(work);
    if (!ran) {
      show({ tone: "ask", headline: "Another tab is paying for this", detail: "Go on there. What it buys can be opened here afterwards.", actions: [again()] });
    }
  } catch (error) {
    failed(error);
  } finally {
    isBusy = false;
  }
}

const again = (label = "Try again") => ({ label, isMain: true, run: start });

/** Something went wrong before anything was signed. */
function failed(error) {
  const code = codeOf(error);
  if (code === USER_DECLINED) {
    return show({ tone: "ask", headline: "You declined in your wallet", detail: "Nothing was paid.", actions: [again()] });
  }
  if (code === ALREADY_ASKING) {
    return show({ tone: "ask", headline: "Your wallet is waiting for you", detail: "It has a question open from before. Answer it there, then try again.", actions: [again()] });
  }
  const message = String(error?.message ?? error).slice(0, 300);
  show({ tone: "bad", headline: "That did not work", detail: `Nothing was paid: ${message}.`, actions: [again()] });
}

/** From a click to what was bought. */
async function pay(wallet, { offer, price, index, network }, replaces) {
  // Another tab may have paid since this one was loaded.
  const kept = keeper.read();
  if (kept && kept.header !== replaces) return finish(kept);
  const account = await accountOf(wallet);
  await bringTo(wallet, offer.network, () => busy(`Changing to ${network}`, `${wallet.name} asks whether it may.`, 2));
  busy("Looking at your balance", "", 2);
  if (!(await hasEnough(wallet, offer, account, price, data.decimals[index]))) return;
  const current = await currentTerms();
  const now = current?.terms.accepts.find(other => ["scheme", "network", "asset", "payTo", "amount"].every(key => other[key] === offer[key]));
  if (!now) {
    const load = { label: "Load the page again", isMain: true, run: () => location.reload() };
    return show({ tone: "ask", headline: "The offer has changed", detail: "Nothing was paid.", actions: [load] });
  }
  busy("Waiting for your signature", `${wallet.name} shows what you sign: ${price}, once, to ${short(offer.payTo)}.`, 2);
  const { typed, until, payload } = toSign(now, account, current.now);
  const signature = await signatureOf(wallet, account, typed);
  const signed = { header: encoded(current.terms, now, payload(signature)), until, network: offer.network, price, delivered: false };
  keeper.write(signed);
  await finish(signed);
}

/** Whether the account can pay, as far as the wallet can tell. */
async function hasEnough(wallet, offer, account, price, decimals) {
  const needed = BigInt(offer.amount);
  const balance = await balanceOf(wallet, offer.asset, account);
  const token = tokenName(offer) || "the token";
  if (balance !== null && balance < needed) {
    const holds = decimals === null ? "less" : `${decimal(balance, decimals)} ${token}`;
    show({
      tone: "bad",
      headline: "Not enough in this account",
      detail: `${short(account)} holds ${holds} on ${networkName(offer.network)}, and ${price} is asked. Nothing was paid.`,
      actions: [again("Look again")],
    });
    return false;
  }
  const allowance = methodOf(offer) === "permit2" ? await allowanceOf(wallet, offer.asset, account) : null;
  if (allowance !== null && allowance < needed) {
    stop("This token has to be approved first", `It moves through Permit2, which ${short(account)} has not approved for ${token}. This page can’t do that for you; a program can.`);
    return false;
  }
  return true;
}

/** An amount in whole tokens, exactly. */
function decimal(amount, decimals) {
  const digits = amount.toString().padStart(decimals + 1, "0");
  const fraction = digits.slice(digits.length - decimals).replace(/0+$/, "");
  return digits.slice(0, digits.length - decimals) + (decimals && fraction ? `.${fraction}` : "");
}

/** Presents a payment that is kept, and hands over what it bought. */
async function finish(kept, headline = "Paying", detail = `${kept.price}, once. This takes a few seconds.`) {
  busy(headline, detail, 3);
  keeper.write({ ...kept, wasSent: true });
  const outcome = await present(kept, (attempt, { isPending, message }) => {
    const why = isPending ? "The payment is on its way and not confirmed yet." : message;
    busy(isPending ? "Waiting for confirmation" : "Asking again", `${why} The same payment is presented again, so you pay once.`.trim(), 3);
  });
  if (outcome.answer) return handOver({ ...kept, wasSent: true }, outcome);
  if (outcome.refused) return refused(kept, outcome);
  show({
    tone: "bad",
    headline: outcome.isPending ? "Not confirmed yet" : "It did not arrive",
    detail: `${outcome.message} Your payment is kept here. Trying again presents the same one, so you pay once.`.trim(),
    actions: [again()],
  });
}

/** The payment buys nothing more. What may have been charged is thrown away by the person alone, who may have to show it. */
function refused(kept, outcome) {
  const anew = { label: "Buy it anew", isMain: kept.delivered, run: () => { keeper.forget(); start(); } };
  if (kept.delivered) {
    return show({ tone: "ask", headline: "It is not kept any more", detail: "What you bought here earlier can’t be opened again.", actions: [anew] });
  }
  if (USED.test(outcome.reason)) {
    return show({ tone: "bad", headline: "This signature has been used", detail: outcome.message || inWords(outcome), actions: [again("Ask again"), anew] });
  }
  if (outcome.wasSent) {
    const detail = `${inWords(outcome)} It was presented before, and that answer did not arrive: look in your wallet whether it was charged before you pay anew.`;
    return show({ tone: "bad", headline: "The payment was refused", detail, actions: [again("Ask again"), anew] });
  }
  keeper.forget();
  show({ tone: "bad", headline: "The payment was refused", detail: `${inWords(outcome)} You have not been charged.`, actions: [again("Start again")] });
}

function handOver(kept, { answer, body }) {
  const receipt = decoded(answer.headers.get("payment-response"));
  const way = wayOf(answer, body);
  // Where loading it has just shown this page again, it is handed over here.
  const isLoaded = way === "load" && Date.now() - (sessionStorage.getItem(LOADED_KEY) ?? 0) > RELOAD_MILLISECONDS;
  keeper.write({ ...kept, delivered: true });
  if (isLoaded && keeper.leave(kept.header)) {
    sessionStorage.setItem(LOADED_KEY, Date.now());
    busy("Paid. Opening it", "", 3);
    return location.reload();
  }
  const name = fileName(answer);
  const url = URL.createObjectURL(body);
  const size = `${sizeInWords(body.size)}${body.type ? `, ${body.type.split(";")[0]}` : ""}`;
  const content = way === "picture" ? [element("img", { src: url, alt: name })] : [];
  const transaction = transactionUrl(kept.network, receipt?.transaction ?? "");
  if (transaction) content.push(note("Paid in transaction ", link(transaction, short(receipt.transaction)), "."));
  const save = { label: `Save ${name}`, isMain: true, href: url, download: name };
  show({
    tone: "good",
    headline: way === "nothing" ? "Paid, and done" : "Paid. It is here",
    detail: way === "nothing" ? "The answer has no content." : `${name}: ${size}`,
    actions: way === "nothing" ? [] : [save],
    content,
  });
  // What is not shown is saved at once; the button is for a second time.
  if (way === "save" || way === "load") at("actions").querySelector("a").click();
}

if (choices.length) {
  choice = choices[0];
  showPrice(choice);
  if (choices.length > 1) listNetworks(choices, chosen => {
    choice = chosen;
    showPrice(choice);
    if (listed) choose(...listed);
  });
}
findWallets(found => {
  const isFirst = wallets === null;
  wallets = found;
  if (isFirst) start();
  else if (listed) choose(...listed);
});
// Another tab has bought it, or has begun to.
addEventListener("storage", event => {
  if (event.key === KEY && !isBusy) start();
});
