// Package pdk is what the author of a Provost connector imports: the types of
// the connector contract, a typed way to write a connector, HTTP over a named
// credential, and logging. It is compiled into every connector, so it depends
// on the standard library only, and on nothing of the host.
package pdk
