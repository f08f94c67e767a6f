// Package sandbox runs WebAssembly modules that nobody trusts. It loads a
// module, offers it the Extism kernel and a WASI preview 1 without files,
// network, environment or arguments, and bounds what a call may cost: memory,
// work, time, input, output, logs, HTTP calls and bytes. It knows nothing of
// provisioning.
//
// A call shares no state with another: each begins from the state in which the
// module was frozen after its start-up. Package rewrite makes that cheap.
package sandbox
