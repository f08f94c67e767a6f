// Package signin is how a named credential signs its requests in: with a
// password, a token, a key, a signature, or with tokens that an authorization
// server gives and takes back. Each way is data; none is code of a connector.
//
// What a sign-in yields (tokens, sessions) is stored sealed and shared by all
// machines: one of them fetches the next while the others wait, and a token is
// stored before it is used. The package knows neither where requests may go nor
// what they are for.
package signin
