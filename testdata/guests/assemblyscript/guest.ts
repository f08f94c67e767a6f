// A guest on Extism's AssemblyScript PDK, whose index has neither HTTP nor errors: those from its env.
import { Config, Host, LogLevel, Memory, Var } from "@extism/as-pdk";
import { error_set, http_request } from "@extism/as-pdk/lib/env";

@external("extism:host/env", "http_status_code")
declare function http_status_code(): i32;
@external("extism:host/env", "length")
declare function length(offset: u64): u64;

export function aborted(message: string | null, file: string | null, line: u32, column: u32): void {
  error_set(Memory.allocateString(message === null ? "aborted" : message).offset);
}

function bytes(s: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(s));
}

export function echo(): i32 {
  Host.output(Host.input());
  return 0;
}

export function shout(): i32 {
  const input = Host.input();
  for (let i = 0; i < input.length; i++) {
    if (input[i] >= 97 && input[i] <= 122) input[i] -= 32;
  }
  Host.output(input);
  return 0;
}

export function config(): i32 {
  const value = Config.get(Host.inputString());
  if (value === null) {
    error_set(Memory.allocateString("there is no such key").offset);
    return 1;
  }
  Host.output(bytes(value));
  return 0;
}

export function vars(): i32 {
  const old = Var.get("kept");
  const input = Host.input();
  const kept = new Uint8Array((old === null ? 0 : old.length) + 1 + input.length);
  if (old !== null) kept.set<Uint8Array>(old);
  const at = old === null ? 0 : old.length;
  kept[at] = 43; // +
  kept.set(input, at + 1);
  Var.set("kept", kept);
  Host.output(Var.get("kept")!);
  return 0;
}

export function log(): i32 {
  const line = Host.inputString();
  Host.log(LogLevel.Debug, line);
  Host.log(LogLevel.Info, line);
  Host.log(LogLevel.Warn, line);
  Host.log(LogLevel.Error, line);
  Host.output(Host.input());
  return 0;
}

export function http(): i32 {
  const request = '{"url":"' + Host.inputString() + '","method":"POST","headers":{"x-guest":"assemblyscript","content-type":"text/plain"}}';
  const at = http_request(Memory.allocateString(request).offset, Memory.allocateString("hello from the guest").offset);
  const status = http_status_code().toString() + " ";
  const body = at == 0 ? "" : new Memory(at, length(at)).toString();
  Host.output(bytes(status + body));
  return 0;
}

export function fail(): i32 {
  error_set(Memory.allocateString("it failed: " + Host.inputString()).offset);
  return 1;
}

export function panic(): i32 {
  unreachable();
  return 0;
}
