// A guest in JavaScript. Each function gets the input as a Uint8Array and returns the output, as one or as a string. host is
// what lib.rs gives.
function echo(input) {
  return input;
}

function shout(input) {
  return input.map((c) => (c >= 97 && c <= 122 ? c - 32 : c));
}

function config(input) {
  const value = host.config(host.text(input));
  if (value === undefined) throw new Error("there is no such key");
  return value;
}

function vars(input) {
  const old = host.getVar("kept") ?? new Uint8Array(0);
  const kept = new Uint8Array(old.length + 1 + input.length);
  kept.set(old);
  kept[old.length] = "+".charCodeAt(0);
  kept.set(input, old.length + 1);
  host.setVar("kept", kept);
  return host.getVar("kept");
}

function log(input) {
  for (const level of ["debug", "info", "warn", "error"]) host.log(level, host.text(input));
  return input;
}

function http(input) {
  const answer = host.http("POST", host.text(input), { "x-guest": "javascript", "content-type": "text/plain" }, "hello from the guest");
  return answer.status + " " + host.text(answer.body);
}

function fail(input) {
  throw new Error(`it failed: ${host.text(input)}`);
}

function panic() {
  return undefined.boom;
}
