// Package connector is the catalogue of loaded connectors: it verifies a
// module, describes it, swaps it for an older one while calls go on, and makes
// typed calls of it. It knows the contract and nothing of requests, accounts
// or secrets: HTTP goes out through an [Egress] that its user brings.
package connector
