// The official check of what servers declare for catalogues (`bazaar`): one JSON line, the verdicts on what it is given.
import { load, setting } from "../peer.mjs";

const { validateDiscoveryExtension, validateDiscoveryExtensionSpec, isValidRouteTemplate } = load("@x402/extensions/bazaar");

const verdicts = JSON.parse(setting("DECLARED")).map(declared => ({
  schema: validateDiscoveryExtension(declared),
  spec: validateDiscoveryExtensionSpec(declared),
  template: declared.routeTemplate === undefined || isValidRouteTemplate(declared.routeTemplate),
}));
console.log(JSON.stringify(verdicts));
